"""Text of the small files that let Jittor 1.3, written for CUDA 11, compile with CUDA 13 and cuDNN 9."""

# nvcc: Jittor passes -std=c++14, which CUDA 13's headers refuse, and fast math, which breaks the parity with
# PyTorch (approximate division, square root and exp; denormals flushed to zero). It is a file and not a link,
# because Jittor resolves links before it looks for include/ and lib64/ beside it.
NVCC = """\
#!/bin/sh
for argument do
  shift
  case "$argument" in
    -std=c++14) set -- "$@" -std=c++17 ;;
    --use_fast_math|-use_fast_math) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec '{nvcc}' "$@"{extra}
"""

# cuDNN 9 has no longer the functions for recurrent networks that Jittor's sources name; this project calls none.
CUDNN = """\
#pragma once
#include "cudnn_real.h"
#if defined(__cplusplus) && CUDNN_MAJOR >= 9
#define JT_STUB(n) template<class... A> \\
    static inline cudnnStatus_t n(A&&...) { return CUDNN_STATUS_NOT_SUPPORTED; }
extern "C++" {
JT_STUB(cudnnSetRNNDescriptor_v6) JT_STUB(cudnnGetRNNWorkspaceSize) JT_STUB(cudnnGetRNNTrainingReserveSize)
JT_STUB(cudnnGetRNNParamsSize) JT_STUB(cudnnGetRNNLinLayerMatrixParams) JT_STUB(cudnnGetRNNLinLayerBiasParams)
JT_STUB(cudnnRNNForwardTraining) JT_STUB(cudnnRNNForwardInference)
JT_STUB(cudnnRNNBackwardData) JT_STUB(cudnnRNNBackwardWeights)
}
#endif
"""

# NPP's headers are in no package; Jittor needs eight integer limits of them.
NPP = """\
#pragma once
#define NPP_MIN_32U   ( 0 )
#define NPP_MAX_32U   ( 4294967295U )
#define NPP_MIN_32S   (-2147483647 - 1 )
#define NPP_MAX_32S   ( 2147483647 )
#define NPP_MIN_64U   ( 0 )
#define NPP_MAX_64U   ( 18446744073709551615ULL )
#define NPP_MIN_64S   (-9223372036854775807LL - 1)
#define NPP_MAX_64S   ( 9223372036854775807LL )
"""

# CCCL 3 (CUDA 13) has no longer the functors, LaneId and the iterators that Jittor's kernels name.
CUB = """\
#pragma once
#include_next <cub/cub.cuh>
#if CUB_VERSION >= 300000
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#define JT_HD __host__ __device__ __forceinline__
namespace cub {
struct Max { template<class T> JT_HD T operator()(const T& a, const T& b) const { return a < b ? b : a; } };
struct Min { template<class T> JT_HD T operator()(const T& a, const T& b) const { return b < a ? b : a; } };
struct Sum { template<class T> JT_HD T operator()(const T& a, const T& b) const { return a + b; } };
struct Equality { template<class T> JT_HD bool operator()(const T& a, const T& b) const { return a == b; } };
__device__ __forceinline__ unsigned LaneId() { unsigned r; asm("mov.u32 %0, %%laneid;" : "=r"(r)); return r; }
template<class T, class O = ptrdiff_t> struct CountingInputIterator : thrust::counting_iterator<T> {
    using thrust::counting_iterator<T>::counting_iterator;
    __host__ __device__ CountingInputIterator(T v) : thrust::counting_iterator<T>(v) {}
};
template<class V, class F, class It, class O = ptrdiff_t>
struct TransformInputIterator : thrust::transform_iterator<F, It, V> {
    __host__ __device__ TransformInputIterator(It i, F f) : thrust::transform_iterator<F, It, V>(i, f) {}
};
}
#undef JT_HD
#endif
"""
