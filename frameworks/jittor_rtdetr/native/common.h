// Exponential, activations and matrix products for the kernels beside this file; float or double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

extern "C" int dnnl_sgemm(
    char transpose_a, char transpose_b, int64_t rows, int64_t columns, int64_t inner, float alpha, const float* a,
    int64_t stride_a, const float* b, int64_t stride_b, float beta, float* c, int64_t stride_c);

namespace native {

// c = alpha * op(a) op(b) + beta * c for row-major matrices; oneDNN runs on one thread inside a parallel region.
inline void multiply(
    char transpose_a, char transpose_b, int64_t rows, int64_t columns, int64_t inner, float alpha, const float* a,
    int64_t stride_a, const float* b, int64_t stride_b, float beta, float* c, int64_t stride_c) {
    if (inner == 0 && beta == 0)  // oneDNN leaves c as it was
        for (int64_t i = 0; i < rows; i++) std::fill(c + i * stride_c, c + i * stride_c + columns, 0.0f);
    dnnl_sgemm(transpose_a, transpose_b, rows, columns, inner, alpha, a, stride_a, b, stride_b, beta, c, stride_c);
}

// sums[row][j] += a[row][l] * b[l][j] over l; four l at a time, so that sums stay in registers.
template <int ROWS>
inline void add_products(
    const double* const* a, int64_t step_a, int64_t inner, const double* b, int64_t stride_b, int64_t columns,
    double (*sums)[256]) {
    int64_t l = 0;
    for (; l + 4 <= inner; l += 4)
        for (int row = 0; row < ROWS; row++) {
            const double *f = a[row] + l * step_a, *at = b + l * stride_b;
            const double f0 = f[0], f1 = f[step_a], f2 = f[2 * step_a], f3 = f[3 * step_a];
            double* sum = sums[row];
            for (int64_t j = 0; j < columns; j++)
                sum[j] += f0 * at[j] + f1 * at[stride_b + j] + (f2 * at[2 * stride_b + j] + f3 * at[3 * stride_b + j]);
        }
    for (; l < inner; l++)
        for (int row = 0; row < ROWS; row++)
            for (int64_t j = 0; j < columns; j++) sums[row][j] += a[row][l * step_a] * b[l * stride_b + j];
}

// oneDNN has no product in double precision. Every number is one thread's sum, in an order of its own.
inline void multiply(
    char transpose_a, char transpose_b, int64_t rows, int64_t columns, int64_t inner, double alpha, const double* a,
    int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c) {
    std::vector<double> copy;
    if (transpose_b == 'T') {  // rows of b become contiguous
        copy.resize(inner * columns);
        const int64_t block = 16;
#pragma omp parallel for schedule(static)
        for (int64_t first = 0; first < inner; first += block)
            for (int64_t j = 0; j < columns; j++)
                for (int64_t l = first; l < std::min(inner, first + block); l++)
                    copy[l * columns + j] = b[j * stride_b + l];
        b = copy.data();
        stride_b = columns;
    }
    const int64_t width = 256, step_a = transpose_a == 'T' ? stride_a : 1, row_a = transpose_a == 'T' ? 1 : stride_a;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i += 4)
        for (int64_t first = 0; first < columns; first += width) {
            const int64_t here = std::min(width, columns - first), count = std::min<int64_t>(4, rows - i);
            double sums[4][width] = {};
            const double* at[4];
            for (int64_t row = 0; row < count; row++) at[row] = a + (i + row) * row_a;
            if (count == 4)
                add_products<4>(at, step_a, inner, b + first, stride_b, here, sums);
            else
                for (int64_t row = 0; row < count; row++)
                    add_products<1>(at + row, step_a, inner, b + first, stride_b, here, sums + row);
            for (int64_t row = 0; row < count; row++)
                for (int64_t j = 0; j < here; j++) {
                    double* to = c + (i + row) * stride_c + first + j;
                    *to = (beta == 0 ? 0 : beta * *to) + alpha * sums[row][j];  // c may be uninitialised
                }
        }
}

inline int32_t bits_of(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float power_of_two(int exponent) { return float_of((exponent + 127) << 23); }

// Chooses by bit masks: g++ makes a branch of the conditional operator here, and then no vectors of the loop.
inline float choose(bool first, float a, float b) {
    int32_t mask = -int32_t(first);
    return float_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}

// exp(x) within one unit in the last place, without branches, so that g++ vectorises loops around it: the C
// library's function is called number by number. x = n log 2 + r with |r| <= log(2) / 2; the scale 2^n is applied
// in two halves, so that results may be denormal or infinite.
inline float exponential(float x) {
    x = choose(x < -105.0f, -105.0f, x);
    x = choose(x > 90.0f, 90.0f, x);
    const float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    float n = (x * 1.44269504f + rounder) - rounder;
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float tail = 1.98412698e-4f;
    tail = tail * r + 1.38888889e-3f;
    tail = tail * r + 8.33333333e-3f;
    tail = tail * r + 4.16666667e-2f;
    tail = tail * r + 1.66666667e-1f;
    tail = tail * r + 0.5f;
    float power = 1.0f + (r + r * r * tail);
    int exponent = int(n);
    int half = exponent >> 1;
    return power * power_of_two(half) * power_of_two(exponent - half);
}

inline double exponential(double x) { return std::exp(x); }

template <class T> inline T sigmoid(T x) { return T(1) / (T(1) + exponential(-x)); }

enum Activation { NONE, RELU, SILU, GELU };

// Calls f with the activation as a constant.
template <class F> void with_activation(int act, F f) {
    if (act == RELU) return f(std::integral_constant<int, RELU>());
    if (act == SILU) return f(std::integral_constant<int, SILU>());
    if (act == GELU) return f(std::integral_constant<int, GELU>());
    f(std::integral_constant<int, NONE>());
}

template <int ACT, class T> inline T activated(T x) {
    if (ACT == RELU) return x > T(0) ? x : T(0);
    if (ACT == SILU) return x * sigmoid(x);
    if (ACT == GELU) return x * T(0.5) * (T(1) + std::erf(x * T(0.70710678118654752440)));
    return x;
}

// Derivative of the activation at x.
template <int ACT, class T> inline T slope(T x) {
    if (ACT == RELU) return x > T(0) ? T(1) : T(0);
    if (ACT == SILU) {
        T s = sigmoid(x);
        return s * (T(1) + x * (T(1) - s));
    }
    if (ACT == GELU)
        return T(0.5) * (T(1) + std::erf(x * T(0.70710678118654752440)))
            + x * T(0.39894228040143267794) * exponential(T(-0.5) * x * x);
    return T(1);
}

}  // namespace native
