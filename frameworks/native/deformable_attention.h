// The sampling of multi-scale deformable attention on CPU: sampling, weighting and the sum over points in one pass,
// forward and backward. Both twins compile this text, so a mistake here would be the same in both: each twin's tests
// hold it to that twin's own formula in attention.py, which defines it.
//
// Names as there: B batch, Q queries, H heads, d channels of a head, K points and N pixels of all L levels. Arrays are
// contiguous: value [B, N, H, d], locations [B, Q, H, K, 2] as (x, y), weights [B, Q, H, K], mixed [B, Q, H, d],
// levels [L, 4] as (height, width, points, 1 for discrete sampling or 0 for bilinear).
//
// Results do not depend on the number of threads: each number is summed by one thread, in a fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <omp.h>
#include <vector>

// Multiplying and adding in one rounding would move coordinates that lie exactly on a pixel's centre to another cell.
#pragma GCC optimize("fp-contract=off")

namespace twin_detr {

struct Sizes {
    int64_t B, N, H, d, Q, K, L;
    int threads;
};

// The pixels around a location (top left, top right, bottom left, bottom right; -1 outside of the map) and the place
// of the location between them. A location that is not finite has NaN there, and so has every result, as in the formula.
template <class T>
struct Cell {
    int64_t pixel[4];
    T right, down;

    T share(int corner) const { return (corner % 2 ? right : 1 - right) * (corner / 2 ? down : 1 - down); }
};

template <class T>
Cell<T> bilinear_cell(const T* location, T height, T width) {
    const T x = ((2 * location[0] - 1 + 1) * width - 1) / 2;  // step by step as in grid_sample, to be rounded alike
    const T y = ((2 * location[1] - 1 + 1) * height - 1) / 2;
    const T left = std::floor(x), top = std::floor(y);
    Cell<T> cell{{-1, -1, -1, -1}, x - left, y - top};
    for (int corner = 0; corner < 4; ++corner) {
        const T column = left + corner % 2, row = top + corner / 2;
        if (column >= 0 && column < width && row >= 0 && row < height)  // false for NaN
            cell.pixel[corner] = int64_t(row) * int64_t(width) + int64_t(column);
    }
    return cell;
}

// Discrete sampling reads one pixel. As in the official code, x is clamped to the height like y.
template <class T>
Cell<T> nearest_cell(const T* location, T height, T width) {
    const auto clamped = [height](T position) {
        const T end = 9223372036854775808.0;  // from here on, and for NaN, conversion to int64 gives its minimum
        return position >= 0 && position < end ? int64_t(std::min(position, height - 1)) : int64_t(0);
    };
    const int64_t row = clamped(location[1] * height + T(0.5)), column = clamped(location[0] * width + T(0.5));
    return {{row * int64_t(width) + column, -1, -1, -1}, 0, 0};
}

// Calls visit(point, cell, steps in x and y) for each point. The cell's pixels are offsets in an array like value or -1,
// the steps are pixels per location: zero where sampling is discrete, since a nearest pixel has no gradient to it.
template <class T, class Visit>
void for_each_point(const Sizes& s, const int32_t* levels, const T* locations, Visit visit) {
    int64_t first = 0, point = 0;  // first pixel of the level
    for (const int32_t* level = levels; level != levels + 4 * s.L; level += 4) {
        const T height = level[0], width = level[1];
        for (int32_t i = 0; i < level[2]; ++i, ++point) {
            const T* const location = locations + 2 * point;
            Cell<T> cell = level[3] ? nearest_cell(location, height, width) : bilinear_cell(location, height, width);
            for (int64_t& pixel : cell.pixel) pixel = pixel < 0 ? -1 : (first + pixel) * s.H * s.d;
            visit(point, cell, level[3] ? 0 : width, level[3] ? 0 : height);
        }
        first += int64_t(level[0]) * level[1];
    }
}

// Fills mixed.
template <class T>
void mix(const Sizes s, const int32_t* levels, const T* value, const T* locations, const T* weights, T* mixed) {
    const std::vector<T> outside(s.d);  // zeros
#pragma omp parallel for collapse(3) schedule(static) num_threads(s.threads)
    for (int64_t b = 0; b < s.B; ++b)
        for (int64_t h = 0; h < s.H; ++h)
            for (int64_t q = 0; q < s.Q; ++q) {
                const int64_t at = (b * s.Q + q) * s.H + h;
                const T* const head = value + (b * s.N * s.H + h) * s.d;
                T* const sum = mixed + at * s.d;
                std::fill(sum, sum + s.d, T(0));
                for_each_point(s, levels, locations + at * s.K * 2, [&](int64_t k, const Cell<T>& cell, T, T) {
                    const T* v[4];
                    T c[4];
                    for (int corner = 0; corner < 4; ++corner) {
                        v[corner] = cell.pixel[corner] < 0 ? outside.data() : head + cell.pixel[corner];
                        c[corner] = weights[at * s.K + k] * cell.share(corner);
                    }
#pragma omp simd
                    for (int64_t i = 0; i < s.d; ++i)
                        sum[i] += c[0] * v[0][i] + c[1] * v[1][i] + c[2] * v[2][i] + c[3] * v[3][i];
                });
            }
}

// Fills the gradients of value, locations and weights.
template <class T>
void mix_gradient(const Sizes s, const int32_t* levels, const T* value, const T* locations, const T* weights,
                  const T* grad_mixed, T* grad_value, T* grad_locations, T* grad_weights) {
    const std::vector<T> outside(s.d);
#pragma omp parallel for collapse(2) schedule(static) num_threads(s.threads)
    for (int64_t b = 0; b < s.B; ++b)
        for (int64_t h = 0; h < s.H; ++h) {  // a thread has a head's gradient to itself, so it needs no atomics
            const T* const head = value + (b * s.N * s.H + h) * s.d;
            T* const grad_head = grad_value + (b * s.N * s.H + h) * s.d;
            std::vector<T> dropped(s.d);  // gradients that fall outside
            for (int64_t n = 0; n < s.N; ++n) std::fill_n(grad_head + n * s.H * s.d, s.d, T(0));
            for (int64_t q = 0; q < s.Q; ++q) {
                const int64_t at = (b * s.Q + q) * s.H + h;
                const T* const g = grad_mixed + at * s.d;
                for_each_point(s, levels, locations + at * s.K * 2, [&](int64_t k, const Cell<T>& cell, T step_x, T step_y) {
                    const int64_t point = at * s.K + k;
                    const T weight = weights[point];
                    T dot[4] = {};
                    for (int corner = 0; corner < 4; ++corner) {
                        const int64_t pixel = cell.pixel[corner];
                        const T* const v = pixel < 0 ? outside.data() : head + pixel;
                        T* const grad_v = pixel < 0 ? dropped.data() : grad_head + pixel;
                        const T c = weight * cell.share(corner);
                        T sum = 0;
#pragma omp simd reduction(+ : sum)
                        for (int64_t i = 0; i < s.d; ++i) {
                            sum += g[i] * v[i];
                            grad_v[i] += c * g[i];
                        }
                        dot[corner] = sum;
                    }
                    T sampled = 0;
                    for (int corner = 0; corner < 4; ++corner) sampled += cell.share(corner) * dot[corner];
                    grad_weights[point] = sampled;
                    const T along_x = (1 - cell.down) * (dot[1] - dot[0]) + cell.down * (dot[3] - dot[2]);
                    const T along_y = (1 - cell.right) * (dot[2] - dot[0]) + cell.right * (dot[3] - dot[1]);
                    grad_locations[2 * point] = weight * step_x * along_x;
                    grad_locations[2 * point + 1] = weight * step_y * along_y;
                });
            }
        }
}

}  // namespace twin_detr
