// Clipping, AdamW and the moving average over one tensor each: one pass over memory.
namespace native {

const int64_t SMALL = 1 << 14;  // so few numbers are not worth a second thread

// before + the sum of squares, in at most 64 parts, whose number does not depend on the threads.
template <class T> double add_squares(double before, const T* x, int64_t count) {
    const int64_t parts = count < SMALL ? 1 : 64;
    double sums[64];
#pragma omp parallel for schedule(static) if (parts > 1)
    for (int64_t part = 0; part < parts; part++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = count * part / parts; i < count * (part + 1) / parts; i++) sum += double(x[i]) * double(x[i]);
        sums[part] = sum;
    }
    for (int64_t part = 0; part < parts; part++) before += sums[part];
    return before;
}

template <class T> void scale(const T* x, T factor, T* y, int64_t count) {
#pragma omp parallel for simd schedule(static) if (count >= SMALL)
    for (int64_t i = 0; i < count; i++) y[i] = x[i] * factor;
}

// share * x + (1 - share) * y, with both factors given.
template <class T> void average(T share, const T* x, T rest, const T* y, T* out, int64_t count) {
#pragma omp parallel for simd schedule(static) if (count >= SMALL)
    for (int64_t i = 0; i < count; i++) out[i] = share * x[i] + rest * y[i];
}

// The numbers of operators.adamw.
template <class T> struct AdamW {
    T beta1, rest1, beta2, rest2, root_correction, eps, kept, rate;

    void update(
        const T* parameter, const T* moment1, const T* moment2, const T* gradient, T* new_parameter, T* new_moment1,
        T* new_moment2, int64_t count) const {
#pragma omp parallel for simd schedule(static) if (count >= SMALL)
        for (int64_t i = 0; i < count; i++) {
            T m = beta1 * moment1[i] + rest1 * gradient[i];
            T v = beta2 * moment2[i] + rest2 * gradient[i] * gradient[i];
            T root = std::sqrt(v) / root_correction + eps;
            new_moment1[i] = m;
            new_moment2[i] = v;
            new_parameter[i] = parameter[i] * kept - rate * (m / root);
        }
    }
};

}  // namespace native
