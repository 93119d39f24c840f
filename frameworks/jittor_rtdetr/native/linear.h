// A linear layer with its bias and ReLU. Sums of the bias's gradient are in double.
namespace native {

// Rows that lie a multiple of 4 KB apart share their places in the processor's cache: products that walk down such
// columns take twice as long. So those matrices are copied with rows and columns exchanged.
template <class T> struct Transposed {
    std::vector<T> copy;
    const T* data;
    int64_t stride;
    char flag;  // for multiply(), which shall see [columns, rows]

    Transposed(const T* x, int64_t rows, int64_t columns) : data(x), stride(columns), flag('T') {
        if (columns * sizeof(T) % 4096 != 0) return;
        copy.resize(rows * columns);
        const int64_t block = 16;
#pragma omp parallel for schedule(static)
        for (int64_t first = 0; first < columns; first += block)
            for (int64_t r = 0; r < rows; r += block)
                for (int64_t j = first; j < std::min(columns, first + block); j++)
                    for (int64_t i = r; i < std::min(rows, r + block); i++) copy[j * rows + i] = x[i * columns + j];
        data = copy.data();
        stride = rows;
        flag = 'N';
    }
};

// x [rows, inputs] weight^T [inputs, outputs] + bias.
struct Linear {
    int64_t rows, inputs, outputs;
    bool relu;

    template <class T> void forward(const T* x, const T* weight, const T* bias, T* y) const {
        multiply('N', 'T', rows, outputs, inputs, T(1), x, inputs, weight, inputs, T(0), y, outputs);
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; r++) {
            T* row = y + r * outputs;
            if (relu)
                for (int64_t j = 0; j < outputs; j++) row[j] = activated<RELU>(row[j] + bias[j]);
            else
                for (int64_t j = 0; j < outputs; j++) row[j] += bias[j];
        }
    }

    template <class T> void backward(
        const T* x, const T* weight, const T* y, const T* grad, T* grad_x, T* grad_weight, T* grad_bias) const {
        std::vector<T> before;  // the gradient before the activation
        if (relu) {
            before.resize(rows * outputs);
            T* to = before.data();
#pragma omp parallel for simd schedule(static)
            for (int64_t i = 0; i < rows * outputs; i++) to[i] = y[i] > T(0) ? grad[i] : T(0);
            grad = to;
        }
        multiply('N', 'N', rows, inputs, outputs, T(1), grad, outputs, weight, inputs, T(0), grad_x, inputs);
        Transposed<T> left(grad, rows, outputs), right(x, rows, inputs);
        multiply(
            left.flag, right.flag == 'T' ? 'N' : 'T', outputs, inputs, rows, T(1), left.data, left.stride, right.data,
            right.stride, T(0), grad_weight, inputs);
        sum_rows(grad, grad_bias);
    }

    // In at most 64 parts, whose number does not depend on the threads.
    template <class T> void sum_rows(const T* grad, T* grad_bias) const {
        const int64_t parts = std::min<int64_t>(64, rows);
        std::vector<double> sums(parts * outputs);
#pragma omp parallel for schedule(static)
        for (int64_t part = 0; part < parts; part++)
            for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
                for (int64_t j = 0; j < outputs; j++) sums[part * outputs + j] += grad[r * outputs + j];
        for (int64_t j = 0; j < outputs; j++) {
            double sum = 0;
            for (int64_t part = 0; part < parts; part++) sum += sums[part * outputs + j];
            grad_bias[j] = sum;
        }
    }
};

}  // namespace native
