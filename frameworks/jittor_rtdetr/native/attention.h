// Softmax over rows, and scaled dot-product attention of all heads; scores never leave the processor's cache.
namespace native {

template <class T> inline void largest_and_sum(T* row, int64_t count, T& largest, T& sum) {
    T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < count; j++) top = row[j] > top ? row[j] : top;  // NaN passes, and spoils the sum
    T total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < count; j++) {
        row[j] = exponential(row[j] - top);
        total += row[j];
    }
    largest = top;
    sum = total;
}

template <class T> void softmax(const T* x, T* y, int64_t rows, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        T* row = y + i * count;
        std::copy(x + i * count, x + (i + 1) * count, row);
        T largest, sum;
        largest_and_sum(row, count, largest, sum);
        for (int64_t j = 0; j < count; j++) row[j] /= sum;
    }
}

// Gradient of the softmax of one row: y * (g - sum(y * g)), written over g.
template <class T> inline void softmax_gradient(const T* y, T* g, int64_t count) {
    T total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < count; j++) total += y[j] * g[j];
    for (int64_t j = 0; j < count; j++) g[j] = y[j] * (g[j] - total);
}

template <class T> void softmax_gradients(const T* y, const T* grad, T* out, int64_t rows, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        std::copy(grad + i * count, grad + (i + 1) * count, out + i * count);
        softmax_gradient(y + i * count, out + i * count, count);
    }
}

// Queries [B, Q, D], keys and values [B, S, D], D = heads * d; blocked [Q, S] or null.
template <class T> struct Attention {
    const T *query, *key, *value;
    const bool* blocked;
    int64_t batch, heads, queries, keys, dim;
    static constexpr int64_t BLOCK = 128;  // rows of scores at once: 256 KB with 500 keys

    int64_t width() const { return dim / heads; }
    T scale() const { return T(1) / std::sqrt(T(width())); }
    int64_t rows(int64_t first) const { return std::min(BLOCK, queries - first); }
    int64_t of_queries(int64_t pair) const { return pair / heads * queries * dim + pair % heads * width(); }
    int64_t of_keys(int64_t pair) const { return pair / heads * keys * dim + pair % heads * width(); }

    // Scores of some rows of one head, without the blocked ones.
    void scores(int64_t pair, int64_t first, T* out) const {
        const T* q = query + of_queries(pair) + first * dim;
        multiply('N', 'T', rows(first), keys, width(), scale(), q, dim, key + of_keys(pair), dim, T(0), out, keys);
        if (!blocked) return;
        const bool* hidden = blocked + first * keys;
#pragma omp simd
        for (int64_t j = 0; j < rows(first) * keys; j++)
            out[j] = hidden[j] ? -std::numeric_limits<T>::infinity() : out[j];
    }

    // mixed [B, Q, D]; largest and sum [B, heads, Q] of each row, from which backward() finds the weights again.
    void forward(T* mixed, T* largest, T* sum) const {
#pragma omp parallel
        {
            std::vector<T> weights(BLOCK * keys);
#pragma omp for schedule(static)
            for (int64_t pair = 0; pair < batch * heads; pair++)
                for (int64_t first = 0; first < queries; first += BLOCK) {
                    scores(pair, first, weights.data());
                    for (int64_t i = 0; i < rows(first); i++) {
                        T* row = weights.data() + i * keys;
                        int64_t at = pair * queries + first + i;
                        largest_and_sum(row, keys, largest[at], sum[at]);
                        for (int64_t j = 0; j < keys; j++) row[j] /= sum[at];
                    }
                    T* out = mixed + of_queries(pair) + first * dim;
                    multiply(
                        'N', 'N', rows(first), width(), keys, T(1), weights.data(), keys, value + of_keys(pair), dim,
                        T(0), out, dim);
                }
        }
    }

    void backward(
        const T* largest, const T* sum, const T* grad, T* grad_query, T* grad_key, T* grad_value) const {
#pragma omp parallel
        {
            std::vector<T> weights(BLOCK * keys), slopes(BLOCK * keys);
#pragma omp for schedule(static)
            for (int64_t pair = 0; pair < batch * heads; pair++)
                for (int64_t first = 0; first < queries; first += BLOCK) {
                    int64_t count = rows(first), at = of_queries(pair) + first * dim;
                    T before = first == 0 ? T(0) : T(1);  // keys and values add up over the blocks
                    T *p = weights.data(), *s = slopes.data();
                    scores(pair, first, p);
                    for (int64_t i = 0; i < count; i++) {
                        T top = largest[pair * queries + first + i], total = sum[pair * queries + first + i];
                        for (int64_t j = 0; j < keys; j++)
                            p[i * keys + j] = exponential(p[i * keys + j] - top) / total;
                    }
                    multiply(
                        'T', 'N', keys, width(), count, T(1), p, keys, grad + at, dim, before,
                        grad_value + of_keys(pair), dim);
                    multiply(
                        'N', 'T', count, keys, width(), T(1), grad + at, dim, value + of_keys(pair), dim, T(0), s,
                        keys);
                    for (int64_t i = 0; i < count; i++) softmax_gradient(p + i * keys, s + i * keys, keys);
                    multiply(
                        'N', 'N', count, width(), keys, scale(), s, keys, key + of_keys(pair), dim, T(0),
                        grad_query + at, dim);
                    multiply(
                        'T', 'N', keys, width(), count, scale(), s, keys, query + at, dim, before,
                        grad_key + of_keys(pair), dim);
                }
        }
    }
};

}  // namespace native
