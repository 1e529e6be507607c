// The C interface of depth-wise convolution. The functions return 0, or 1 where there is not enough memory.
#include "passes.h"

static thread_local Arena arena;

// A gradient that lies in memory.
struct Given {
    const float* gradient;
    Vector operator()(long at, long, long lanes) const { return load(gradient + at, lanes); }
    const float* tensor() const { return gradient; }
    void fetch(long at) const { ::fetch(gradient + at); }
};

extern "C" __attribute__((visibility("default"))) int depthwise_forward(const Shape* shape, const float* x,
                                                                        const float* weight, const float* bias,
                                                                        float* out) {
    try {
        arena.start();
        ask_for_large_pages(out, shape->rows() * shape->channels);
        convolve(*shape, arena, x, weight, bias,
                 [=, channels = shape->channels](long, long, long at, long, long lanes, Vector* values, long count) {
#pragma GCC unroll 8
                     for (long j = 0; j < count; j++) stream(out + at + j * channels, values[j], lanes);
                 });
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
        ask_for_large_pages(dx, shape->rows() * shape->channels);
        convolve_gradients(*shape, arena, x, weight, Given{gradient}, nullptr, dx, dweight, dbias);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
