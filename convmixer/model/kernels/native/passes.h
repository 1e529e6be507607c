// The two passes over the planes of a batch: convolution, and both of its gradients at once.
//
// A thread takes an image (or a few) and a group of channels, reads row after row of it into the windows of
// depthwise.h, and hands each row of results on while it is in the cache. What happens to data on its way in and out is
// the caller's.
#pragma once

#include <omp.h>

#include <type_traits>

#include "arena.h"
#include "depthwise.h"

// Tensors of a batch are [batch][height][width][channels].
struct Shape {
    long batch, height, width, channels, kernel, threads;

    long rows() const { return batch * height * width; }
    long padded_channels() const { return round_up(channels, LANES); }
    Plane plane() const { return {height, width, kernel, (kernel - 1) / 2}; }
    Plane flipped_plane() const { return {height, width, kernel, kernel / 2}; }
    long at(long n, long y, long x, long c) const { return ((n * height + y) * width + x) * channels + c; }

    // Blocks of LANES channels that a thread takes at a time. All, so that memory is read from one end to the other,
    // unless their windows, for an input and a gradient, leave the second-level cache or there are too few images.
    long group_blocks() const {
        constexpr long CACHE = 512 * 1024 / sizeof(float);
        long fitting = std::max(1L, CACHE / (2 * plane().window_size()));
        long shared = batch >= 4 * threads ? fitting : std::min(fitting, 64 / LANES);
        return std::min(shared, padded_channels() / LANES);
    }
};

constexpr long CHUNKS = 16;  // sums over a batch are sums of that many parts, however many threads there are

// Calls f with the kernel size as a constant where there is code for just that size, else with 0.
template <class F>
void with_kernel_size(long kernel, F f) {
    switch (kernel) {
        case 3:
            return f(std::integral_constant<long, 3>());
        case 5:
            return f(std::integral_constant<long, 5>());
        case 7:
            return f(std::integral_constant<long, 7>());
        case 9:
            return f(std::integral_constant<long, 9>());
        default:
            return f(std::integral_constant<long, 0>());
    }
}

// The vectors of channels `group` to `end` of a row of an image, pixel by pixel: f(x, block, at, lanes). `at` is the
// place in the tensor; of the last block only the first `lanes` channels may exist.
template <class F>
inline void for_row(const Shape& shape, long n, long y, long group, long end, F f) {
    long row = shape.at(n, y, 0, 0), width = shape.width, channels = shape.channels;
    for (long x = 0; x < width; x++)
        for (long c = group; c < end; c += LANES) f(x, (c - group) / LANES, row + x * channels + c, end - c);
}

// Copies row y of `from` into the windows of a group, and has the row after it fetched.
inline void copy_row(const Shape& shape, const Plane& plane, const float* from, long n, long y, long group, long end,
                     float* windows) {
    float* row = windows + plane.slot(y) + plane.before * LANES;
    long below = shape.width * shape.channels, window = plane.window_size();
    for_row(shape, n, y, group, end, [=](long x, long block, long at, long lanes) {
        __builtin_prefetch(from + at + below);
        store(row + block * window + x * LANES, load(from + at, lanes));
    });
}

// finish(n, pixel, at, c, lanes, value) gets every vector of the convolution of image n, pixel by pixel.
template <class Finish>
void convolve(const Shape& shape, Arena& arena, const float* x, const float* weight, const float* bias, Finish finish) {
    Plane plane = shape.plane();
    long taps = plane.kernel * plane.kernel, result_size = round_up(plane.width, TILE) * LANES;
    float* filters = arena.take(taps * shape.padded_channels());
    pack_filters(weight, shape.channels, taps, false, filters);
    long blocks = shape.group_blocks(), group_size = blocks * LANES;
    long scratch_size = blocks * (plane.window_size() + result_size);
    float* scratch = arena.take(shape.threads * scratch_size);
    with_kernel_size(plane.kernel, [&](auto k) {
        constexpr long K = decltype(k)::value;
#pragma omp parallel num_threads(shape.threads)
        {
            float* windows = scratch + omp_get_thread_num() * scratch_size;
            float* results = windows + blocks * plane.window_size();
            std::fill(windows, results, 0.0f);
#pragma omp for collapse(2) schedule(dynamic)
            for (long n = 0; n < shape.batch; n++)
                for (long group = 0; group < shape.channels; group += group_size) {
                    long end = std::min(group + group_size, shape.channels), next = 0;
                    for (long y = 0; y < plane.height; y++) {
                        for (; next < y + plane.last(y) - plane.before; next++)
                            copy_row(shape, plane, x, n, next, group, end, windows);
                        for (long c = group; c < end; c += LANES) {
                            long block = (c - group) / LANES;
                            convolve_row<K>(plane, windows + block * plane.window_size(), filters + c * taps, y,
                                            results + block * result_size);
                        }
                        for_row(shape, n, y, group, end, [=](long i, long block, long at, long lanes) {
                            long c = group + block * LANES;
                            Vector value = load(results + block * result_size + i * LANES);
                            // Added last: a large bias then costs no digits of the sum.
                            finish(n, y * plane.width + i, at, c, lanes, bias ? value + load(bias + c, lanes) : value);
                        });
                    }
                }
        }
    });
}

// gradient(at, c, lanes) is the gradient of the convolution's output. Its input's is written to dx, with `residual`
// added; its filters' and bias's to dweight and dbias. residual, dx, and dweight with dbias, may be null.
template <class Gradient>
void convolve_gradients(const Shape& shape, Arena& arena, const float* x, const float* weight, Gradient gradient,
                        const float* residual, float* dx, float* dweight, float* dbias) {
    Plane plane = shape.plane(), flipped = shape.flipped_plane();
    long taps = plane.kernel * plane.kernel, result_size = round_up(plane.width, TILE) * LANES;
    float* filters = arena.take(taps * shape.padded_channels());
    pack_filters(weight, shape.channels, taps, true, filters);
    long part_size = (taps + 1) * shape.padded_channels();
    float* parts = arena.take(CHUNKS * part_size);  // [chunk][channels / LANES][taps, then bias][LANES]
    std::fill(parts, parts + CHUNKS * part_size, 0.0f);
    long blocks = shape.group_blocks(), group_size = blocks * LANES;
    long scratch_size = blocks * (2 * plane.window_size() + result_size);
    float* scratch = arena.take(shape.threads * scratch_size);
    with_kernel_size(plane.kernel, [&](auto k) {
        constexpr long K = decltype(k)::value;
#pragma omp parallel num_threads(shape.threads)
        {
            float* pixels = scratch + omp_get_thread_num() * scratch_size;
            float* slopes = pixels + blocks * plane.window_size();
            float* results = slopes + blocks * plane.window_size();
            std::fill(pixels, results, 0.0f);
#pragma omp for collapse(2) schedule(dynamic)
            for (long chunk = 0; chunk < CHUNKS; chunk++)
                for (long group = 0; group < shape.channels; group += group_size) {
                    long end = std::min(group + group_size, shape.channels);
                    float* part = parts + chunk * part_size + group * (taps + 1);
                    for (long n = shape.batch * chunk / CHUNKS; n < shape.batch * (chunk + 1) / CHUNKS; n++) {
                        long next = 0, next_slope = 0;
                        for (long y = 0; y < plane.height; y++) {
                            for (; dweight && next < y + plane.last(y) - plane.before; next++)
                                copy_row(shape, plane, x, n, next, group, end, pixels);
                            for (; next_slope < y + flipped.last(y) - flipped.before; next_slope++)
                                for_row(shape, n, next_slope, group, end, [=](long i, long block, long at, long lanes) {
                                    float* sum = part + (block * (taps + 1) + taps) * LANES;
                                    Vector slope = gradient(at, group + block * LANES, lanes);
                                    store(sum, load(sum) + slope);
                                    store(slopes + block * plane.window_size() + flipped.slot(next_slope) +
                                              (flipped.before + i) * LANES,
                                          slope);
                                });
                            for (long c = group; c < end; c += LANES) {
                                long block = (c - group) / LANES, window = block * plane.window_size();
                                if (dweight)
                                    add_filter_gradient<K>(plane, pixels + window,
                                                           slopes + window + flipped.slot(y) + flipped.before * LANES,
                                                           y, part + block * (taps + 1) * LANES);
                                if (dx)
                                    convolve_row<K>(flipped, slopes + window, filters + c * taps, y,
                                                    results + block * result_size);
                            }
                            if (!dx) continue;
                            for_row(shape, n, y, group, end, [&](long i, long block, long at, long lanes) {
                                Vector value = load(results + block * result_size + i * LANES);
                                store(dx + at, residual ? value + load(residual + at, lanes) : value, lanes);
                            });
                        }
                    }
                }
        }
    });
    if (!dweight) return;
#pragma omp parallel for num_threads(shape.threads)
    for (long c = 0; c < shape.channels; c += LANES)
        for (long i = 0; i <= taps; i++) {
            Vector sum = {};
            for (long chunk = 0; chunk < CHUNKS; chunk++)
                sum += load(parts + chunk * part_size + c * (taps + 1) + i * LANES);
            for (long lane = 0; lane < std::min(LANES, shape.channels - c); lane++)
                (i < taps ? dweight[(c + lane) * taps + i] : dbias[c + lane]) = sum[lane];
        }
}
