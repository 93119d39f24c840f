// A convolution of one image and one group as a matrix product with the columns of its patches.
namespace native {

struct Convolution {
    int64_t images, channels, height, width, filters, kernel_h, kernel_w, groups, stride, padding, out_h, out_w;

    int64_t group_channels() const { return channels / groups; }
    int64_t group_filters() const { return filters / groups; }
    int64_t patch() const { return group_channels() * kernel_h * kernel_w; }
    int64_t places() const { return out_h * out_w; }

    // Calls f(first channel's map, weights [filters, patch], result [filters, places]) for offsets of every product.
    template <class F> void for_each_product(F f) const {
        for (int64_t n = 0; n < images; n++)
            for (int64_t g = 0; g < groups; g++)
                f((n * channels + g * group_channels()) * height * width, g * group_filters() * patch(),
                  (n * filters + g * group_filters()) * places());
    }

    // Calls f(place in the map, place in the columns [patch, places]) for all pixels inside the image; one channel
    // belongs to one thread.
    template <class F> void for_each_pixel(F f) const {
#pragma omp parallel for schedule(static)
        for (int64_t c = 0; c < group_channels(); c++)
            for (int64_t k = 0; k < kernel_h * kernel_w; k++)
                for (int64_t i = 0; i < out_h; i++) {
                    int64_t y = i * stride - padding + k / kernel_w;
                    if (y < 0 || y >= height) continue;
                    for (int64_t j = 0; j < out_w; j++) {
                        int64_t x = j * stride - padding + k % kernel_w;
                        if (x < 0 || x >= width) continue;
                        f((c * height + y) * width + x, ((c * kernel_h * kernel_w + k) * out_h + i) * out_w + j);
                    }
                }
    }

    template <class T> void forward(const T* x, const T* weight, T* y) const {
        std::vector<T> columns(patch() * places());  // padding stays zero: its places are the same for all maps
        for_each_product([&](int64_t map, int64_t filter, int64_t result) {
            for_each_pixel([&](int64_t pixel, int64_t place) { columns[place] = x[map + pixel]; });
            multiply(
                'N', 'N', group_filters(), places(), patch(), T(1), weight + filter, patch(), columns.data(), places(),
                T(0), y + result, places());
        });
    }

    template <class T> void backward(const T* x, const T* weight, const T* grad, T* grad_x, T* grad_weight) const {
        std::vector<T> columns(patch() * places()), grad_columns(patch() * places());
        std::fill(grad_x, grad_x + images * channels * height * width, T(0));
        std::fill(grad_weight, grad_weight + filters * patch(), T(0));
        for_each_product([&](int64_t map, int64_t filter, int64_t result) {
            for_each_pixel([&](int64_t pixel, int64_t place) { columns[place] = x[map + pixel]; });
            multiply(
                'N', 'T', group_filters(), patch(), places(), T(1), grad + result, places(), columns.data(), places(),
                T(1), grad_weight + filter, patch());
            multiply(
                'T', 'N', patch(), places(), group_filters(), T(1), weight + filter, patch(), grad + result, places(),
                T(0), grad_columns.data(), places());
            for_each_pixel([&](int64_t pixel, int64_t place) { grad_x[map + pixel] += grad_columns[place]; });
        });
    }
};

}  // namespace native
