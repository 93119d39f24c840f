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
    dnnl_sgemm(transpose_a, transpose_b, rows, columns, inner, alpha, a, stride_a, b, stride_b, beta, c, stride_c);
}

// oneDNN has no product in double precision; that one is for tests, so plain loops do.
inline void multiply(
    char transpose_a, char transpose_b, int64_t rows, int64_t columns, int64_t inner, double alpha, const double* a,
    int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c) {
    std::vector<double> copy;
    if (transpose_b == 'T') {  // rows of b become contiguous
        copy.resize(inner * columns);
        for (int64_t j = 0; j < columns; j++)
            for (int64_t l = 0; l < inner; l++) copy[l * columns + j] = b[j * stride_b + l];
        b = copy.data();
        stride_b = columns;
    }
    std::vector<double> sums(columns);
    for (int64_t i = 0; i < rows; i++) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t l = 0; l < inner; l++) {
            double factor = transpose_a == 'T' ? a[l * stride_a + i] : a[i * stride_a + l];
            for (int64_t j = 0; j < columns; j++) sums[j] += factor * b[l * stride_b + j];
        }
        for (int64_t j = 0; j < columns; j++) {
            double before = beta == 0 ? 0 : beta * c[i * stride_c + j];  // c may be uninitialised
            c[i * stride_c + j] = before + alpha * sums[j];
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
