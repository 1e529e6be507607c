// The C interface of depth-wise convolution. The functions return 0, or 1 where there is not enough memory.
#include "passes.h"

static thread_local Arena arena;

extern "C" __attribute__((visibility("default"))) int depthwise_forward(const Shape* shape, const float* x,
                                                                        const float* weight, const float* bias,
                                                                        float* out) {
    try {
        arena.start();
        convolve(*shape, arena, x, weight, bias,
                 [&](long, long, long at, long, long lanes, Vector value) { store(out + at, value, lanes); });
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

extern "C" __attribute__((visibility("default"))) int depthwise_backward(const Shape* shape, const float* x,
                                                                         const float* weight, const float* gradient,
                                                                         float* dx, float* dweight, float* dbias) {
    try {
        arena.start();
        convolve_gradients(
            *shape, arena, x, weight, [&](long at, long, long lanes) { return load(gradient + at, lanes); }, nullptr,
            dx, dweight, dbias);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
