// The two passes over the planes of a batch: convolution, and both of its gradients at once.
//
// A thread takes an image (or a few) and a group of channels and reads row after row of it into the windows of
// depthwise.h. While it computes a row it has the next one fetched, and results may be streamed past the caches: so
// memory and arithmetic are busy at the same time. What happens to data on its way in and out is the caller's.
#pragma once

#include <type_traits>

#include "arena.h"
#include "depthwise.h"
#include "share.h"

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

// Images, or chunks of a batch, times groups of channels: what threads share out.
struct Groups {
    struct Item {
        long n, group, end;
    };
    long blocks, channels, count;

    explicit Groups(const Shape& shape)
        : blocks(shape.group_blocks()), channels(shape.channels), count((channels - 1) / (blocks * LANES) + 1) {}

    Item of(long item) const {
        long group = item % count * blocks * LANES;
        return {item / count, group, std::min(group + blocks * LANES, channels)};
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
inline void for_row(Shape shape, long n, long y, long group, long end, F f) {
    long row = shape.at(n, y, 0, 0), width = shape.width, channels = shape.channels;
    for (long x = 0; x < width; x++)
        for (long c = group; c < end; c += LANES) f(x, (c - group) / LANES, row + x * channels + c, end - c);
}

// Copies row y of a group, of which read(at, c, lanes) has the vectors, into windows.
template <long K, class Read>
inline void copy_row(Shape shape, Plane plane, long n, long y, long group, long end, float* windows, Read read) {
    float* row = windows + plane.slot<K>(y) + plane.before * LANES;
    long window = plane.window_size();
    for_row(shape, n, y, group, end, [=](long x, long block, long at, long lanes) {
        store(row + block * window + x * LANES, read(at, group + block * LANES, lanes));
    });
}

// fetch(at) for the vectors at channel c of a row, that is to have them brought into the second-level cache.
template <class Fetch>
inline void fetch_row(Shape shape, long n, long y, long c, Fetch fetch) {
    long at = shape.at(n, y, 0, c);
    for (long x = 0; x < shape.width; x++) fetch(at + x * shape.channels);
}

inline void fetch(const float* from) { __builtin_prefetch(from, 0, 2); }

// One image and group of channels of `convolve`.
template <long K, class Finish>
void convolve_image(Shape shape, const float* x, const float* filters, const float* bias, long n, long group, long end,
                    float* windows, Finish finish) {
    Plane plane = shape.plane();
    long taps = plane.kernel * plane.kernel, next = 0;
    for (long y = 0; y < plane.height; y++) {
        for (; next < y + plane.last(y) - plane.before; next++)
            copy_row<K>(shape, plane, n, next, group, end, windows,
                        [=](long at, long, long lanes) { return load(x + at, lanes); });
        for (long c = group; c < end; c += LANES) {
            // After the last row that is the next image's first. Fetching what is not there does no harm.
            fetch_row(shape, n, next, c, [=](long at) { fetch(x + at); });
            Vector offset = bias ? load(bias + c, end - c) : Vector{};
            long row = shape.at(n, y, 0, c);
            convolve_row<K>(plane, windows + (c - group) / LANES * plane.window_size(), filters + c * taps, y,
                            [=](long i, Vector* values, long count) {
                                // Added last: a large bias then costs no digits of the sum.
#pragma GCC unroll 8
                                for (long j = 0; j < count; j++) values[j] += offset;
                                finish(n, y * shape.width + i, row + i * shape.channels, c, end - c, values, count);
                            });
        }
    }
}

// finish(n, pixel, at, c, lanes, values, count) gets the vectors of the convolution of image n, `count` pixels of a row
// at a time.
template <class Finish>
void convolve(const Shape& shape, Arena& arena, const float* x, const float* weight, const float* bias, Finish finish) {
    Plane plane = shape.plane();
    long taps = plane.kernel * plane.kernel;
    Groups groups(shape);
    long windows_size = groups.blocks * plane.window_size(), filters_size = taps * shape.padded_channels();
    float* scratch = arena.take(shape.threads * (windows_size + filters_size));
    Share images(shape.batch * groups.count, shape.threads);
    with_kernel_size(plane.kernel, [&](auto k) {
        constexpr long K = decltype(k)::value;
#pragma omp parallel num_threads(shape.threads)
        {
            float* filters = scratch + omp_get_thread_num() * (windows_size + filters_size);
            float* windows = filters + filters_size;
            pack_filters(weight, shape.channels, taps, false, filters);
            std::fill(windows, windows + windows_size, 0.0f);
            images.out([&](long item) {
                auto [n, group, end] = groups.of(item);
                convolve_image<K>(shape, x, filters, bias, n, group, end, windows, finish);
            });
            streamed();
        }
    });
}

// One chunk of the batch and group of channels of `convolve_gradients`. part, [channels / LANES][taps, then bias]
// [LANES], is null where the filters' gradient is not wanted.
template <long K, class Gradient>
void convolve_gradients_chunk(Shape shape, const float* x, const float* filters, Gradient gradient,
                              const float* residual, float* dx, float* part, long chunk, long group, long end,
                              float* pixels, float* slopes) {
    Plane plane = shape.plane(), flipped = shape.flipped_plane();
    long taps = plane.kernel * plane.kernel, window = plane.window_size();
    for (long n = shape.batch * chunk / CHUNKS; n < shape.batch * (chunk + 1) / CHUNKS; n++) {
        long next = 0, next_slope = 0;
        for (long y = 0; y < plane.height; y++) {
            for (; part && next < y + plane.last(y) - plane.before; next++)
                copy_row<K>(shape, plane, n, next, group, end, pixels,
                            [=](long at, long, long lanes) { return load(x + at, lanes); });
            for (; next_slope < y + flipped.last(y) - flipped.before; next_slope++)
                copy_row<K>(shape, flipped, n, next_slope, group, end, slopes, gradient);
            for (long c = group; c < end; c += LANES) {
                long block = (c - group) / LANES, row = shape.at(n, y, 0, c);
                const float* row_slopes = slopes + block * window + flipped.slot<K>(y) + flipped.before * LANES;
                fetch_row(shape, n, next_slope, c, [=](long at) { gradient.fetch(at); });
                if (part) {
                    fetch_row(shape, n, next, c, [=](long at) { fetch(x + at); });
                    float* sums = part + block * (taps + 1) * LANES;
                    add_filter_gradient<K>(plane, pixels + block * window, row_slopes, y, sums);
                    add_up(row_slopes, shape.width, sums + taps * LANES);
                }
                if (dx)
                    convolve_row<K>(flipped, slopes + block * window, filters + c * taps, y,
                                    [=](long i, Vector* values, long count) {
#pragma GCC unroll 8
                                        for (long j = 0; j < count; j++) {
                                            long at = row + (i + j) * shape.channels, lanes = end - c;
                                            if (residual) values[j] += load(residual + at, lanes);
                                            stream(dx + at, values[j], lanes);
                                        }
                                    });
            }
        }
    }
}

// gradient(at, c, lanes) is the gradient of the convolution's output, gradient.fetch(at) fetches it. Its input's is
// written to dx, with `residual` added; its filters' and bias's to dweight and dbias. residual, dx, and dweight with
// dbias, may be null.
template <class Gradient>
void convolve_gradients(const Shape& shape, Arena& arena, const float* x, const float* weight, Gradient gradient,
                        const float* residual, float* dx, float* dweight, float* dbias) {
    Plane plane = shape.plane();
    long taps = plane.kernel * plane.kernel;
    long part_size = dweight ? (taps + 1) * shape.padded_channels() : 0;
    float* parts = arena.take(CHUNKS * part_size);  // [chunk][channels / LANES][taps, then bias][LANES]
    Groups groups(shape);
    long windows_size = groups.blocks * plane.window_size(), filters_size = taps * shape.padded_channels();
    float* scratch = arena.take(shape.threads * (2 * windows_size + filters_size));
    Share chunks(CHUNKS * groups.count, shape.threads);
    with_kernel_size(plane.kernel, [&](auto k) {
        constexpr long K = decltype(k)::value;
#pragma omp parallel num_threads(shape.threads)
        {
            float* filters = scratch + omp_get_thread_num() * (2 * windows_size + filters_size);
            float *pixels = filters + filters_size, *slopes = pixels + windows_size;
            pack_filters(weight, shape.channels, taps, true, filters);
            std::fill(pixels, slopes + windows_size, 0.0f);
            chunks.out([&](long item) {
                auto [chunk, group, end] = groups.of(item);
                float* part = dweight ? parts + chunk * part_size + group * (taps + 1) : nullptr;
                if (part) std::fill(part, part + round_up(end - group, LANES) * (taps + 1), 0.0f);
                convolve_gradients_chunk<K>(shape, x, filters, gradient, residual, dx, part, chunk, group, end, pixels,
                                            slopes);
            });
            streamed();
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
