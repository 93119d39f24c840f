// Batch norm with its activation, and layer norm. Sums are in double; each result belongs to one thread.
namespace native {

// Sum of f(0), ..., f(count - 1).
template <class Term> inline double total(int64_t count, Term term) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += term(i);
    return sum;
}

// Maps [batch, channels, pixels]: the planes of one channel lie `channels` planes apart.
struct Maps {
    int64_t batch, channels, pixels;

    int64_t plane(int64_t image, int64_t channel) const { return (image * channels + channel) * pixels; }
    double count() const { return double(batch) * double(pixels); }
};

// What happens to one channel: ((x - mean) * inverse) * weight + bias, then the activation.
template <class T> struct Channel {
    T mean, inverse, weight, bias;

    T normal(T x) const { return (x - mean) * inverse; }
    T affine(T x) const { return normal(x) * weight + bias; }
};

template <int ACT, class T> void normalise(const Maps& maps, const Channel<T>& channel, int64_t c, const T* x, T* y) {
    for (int64_t b = 0; b < maps.batch; b++) {
        const T* from = x + maps.plane(b, c);
        T* to = y + maps.plane(b, c);
        for (int64_t i = 0; i < maps.pixels; i++) to[i] = activated<ACT>(channel.affine(from[i]));
    }
}

template <int ACT, class T> void batch_norm(
    Maps maps, const T* x, const T* weight, const T* bias, double eps, T* y, T* mean, T* variance, T* inverse) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < maps.channels; c++) {
        double sum = 0, squares = 0;
        for (int64_t b = 0; b < maps.batch; b++) {
            const T* from = x + maps.plane(b, c);
            sum += total(maps.pixels, [=](int64_t i) { return double(from[i]); });
        }
        double centre = sum / maps.count();
        for (int64_t b = 0; b < maps.batch; b++) {
            const T* from = x + maps.plane(b, c);
            squares += total(maps.pixels, [=](int64_t i) { return (from[i] - centre) * (from[i] - centre); });
        }
        mean[c] = centre;
        variance[c] = squares / maps.count();
        inverse[c] = 1 / std::sqrt(squares / maps.count() + eps);
        normalise<ACT>(maps, Channel<T>{mean[c], inverse[c], weight[c], bias[c]}, c, x, y);
    }
}

template <int ACT, class T> void batch_norm_gradient(
    Maps maps, const T* x, const T* weight, const T* bias, const T* mean, const T* inverse, const T* grad, T* grad_x,
    T* grad_weight, T* grad_bias) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < maps.channels; c++) {
        Channel<T> channel{mean[c], inverse[c], weight[c], bias[c]};
        double sum = 0, products = 0;
        for (int64_t b = 0; b < maps.batch; b++) {
            const T *from = x + maps.plane(b, c), *g = grad + maps.plane(b, c);
            T* inner = grad_x + maps.plane(b, c);  // holds the gradient before the activation for a moment
            for (int64_t i = 0; i < maps.pixels; i++) inner[i] = g[i] * slope<ACT>(channel.affine(from[i]));
            sum += total(maps.pixels, [=](int64_t i) { return double(inner[i]); });
            products += total(
                maps.pixels, [=](int64_t i) { return double(inner[i]) * double(channel.normal(from[i])); });
        }
        grad_bias[c] = sum;
        grad_weight[c] = products;
        T shift = sum / maps.count(), stretch = products / maps.count(), scale = weight[c] * inverse[c];
        for (int64_t b = 0; b < maps.batch; b++) {
            const T* from = x + maps.plane(b, c);
            T* inner = grad_x + maps.plane(b, c);
            for (int64_t i = 0; i < maps.pixels; i++)
                inner[i] = (inner[i] - (shift + channel.normal(from[i]) * stretch)) * scale;
        }
    }
}

// The same with constants in place of statistics: x * scale + (bias - mean * scale).
template <class T> inline Channel<T> fixed(T weight, T bias, T mean, T variance, double eps) {
    T scale = weight / std::sqrt(variance + T(eps));
    return Channel<T>{T(0), T(1), scale, bias - mean * scale};
}

template <int ACT, class T> void fixed_norm(
    Maps maps, const T* x, const T* weight, const T* bias, const T* mean, const T* variance, double eps, T* y) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < maps.channels; c++)
        normalise<ACT>(maps, fixed(weight[c], bias[c], mean[c], variance[c], eps), c, x, y);
}

template <int ACT, class T> void fixed_norm_gradient(
    Maps maps, const T* x, const T* weight, const T* bias, const T* mean, const T* variance, double eps,
    const T* grad, T* grad_x) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < maps.channels; c++) {
        Channel<T> channel = fixed(weight[c], bias[c], mean[c], variance[c], eps);
        for (int64_t b = 0; b < maps.batch; b++)
            for (int64_t i = maps.plane(b, c); i < maps.plane(b, c) + maps.pixels; i++)
                grad_x[i] = grad[i] * slope<ACT>(channel.affine(x[i])) * channel.weight;
    }
}

// Rows [rows, dim]; mean and inverse standard deviation of each row are kept for the gradient.
template <class T> void layer_norm(
    int64_t rows, int64_t dim, const T* x, const T* weight, const T* bias, double eps, T* y, T* mean, T* inverse) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const T* from = x + r * dim;
        T* to = y + r * dim;
        double centre = total(dim, [=](int64_t i) { return double(from[i]); }) / dim;
        double squares = total(dim, [=](int64_t i) { return (from[i] - centre) * (from[i] - centre); });
        T middle = mean[r] = centre, factor = inverse[r] = 1 / std::sqrt(squares / dim + eps);
        for (int64_t i = 0; i < dim; i++) to[i] = (from[i] - middle) * factor * weight[i] + bias[i];
    }
}

// The gradients of weight and bias are summed in at most 64 parts, whose number does not depend on the threads.
template <class T> void layer_norm_gradient(
    int64_t rows, int64_t dim, const T* x, const T* weight, const T* mean, const T* inverse, const T* grad, T* grad_x,
    T* grad_weight, T* grad_bias) {
    const int64_t parts = std::min<int64_t>(64, rows);
    std::vector<T> partial(parts * 2 * dim);
#pragma omp parallel for schedule(static)
    for (int64_t part = 0; part < parts; part++)
        for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) {
            const T *from = x + r * dim, *g = grad + r * dim;
            T *to = grad_x + r * dim, *sums = partial.data() + part * 2 * dim, *products = sums + dim;
            T middle = mean[r], factor = inverse[r];
            T shift = total(dim, [=](int64_t i) { return double(g[i]) * weight[i]; }) / dim;
            T stretch = total(dim, [=](int64_t i) {
                return double(g[i]) * weight[i] * ((from[i] - middle) * factor);
            }) / dim;
#pragma omp simd
            for (int64_t i = 0; i < dim; i++) {
                T normal = (from[i] - middle) * factor;
                to[i] = (g[i] * weight[i] - (shift + normal * stretch)) * factor;
                sums[i] += g[i];
                products[i] += g[i] * normal;
            }
        }
    for (int64_t i = 0; i < dim; i++) {
        double sum = 0, product = 0;
        for (int64_t part = 0; part < parts; part++) {
            sum += partial[part * 2 * dim + i];
            product += partial[part * 2 * dim + dim + i];
        }
        grad_bias[i] = sum;
        grad_weight[i] = product;
    }
}

}  // namespace native
