// deformable_attention.h as a shared library, for PyTorch through ctypes; *_f for float, *_d for double.
#include "deformable_attention.h"

using twin_detr::Sizes;

#define EXPORT(T, suffix)                                                                                         \
    extern "C" void mix_##suffix(const Sizes* s, const int32_t* levels, const T* value, const T* locations,       \
                                 const T* weights, T* mixed) {                                                    \
        twin_detr::mix(*s, levels, value, locations, weights, mixed);                                             \
    }                                                                                                             \
    extern "C" void mix_gradient_##suffix(const Sizes* s, const int32_t* levels, const T* value,                  \
                                          const T* locations, const T* weights, const T* grad_mixed,              \
                                          T* grad_value, T* grad_locations, T* grad_weights) {                    \
        twin_detr::mix_gradient(*s, levels, value, locations, weights, grad_mixed, grad_value, grad_locations,    \
                                grad_weights);                                                                    \
    }

EXPORT(float, f)
EXPORT(double, d)
