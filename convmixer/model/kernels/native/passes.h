// The two passes over the planes of a batch: convolution, and both of its gradients at once.
//
// A thread takes an image and a group of channels. It reads the image where it lies, if that can be done without
// meeting what is outside, else in copies of its rows; so it does with what is computed on its way in. While it computes
// a row it has the next one fetched, and results may be streamed past the caches: so memory and arithmetic are busy at
// the same time. What happens to data on its way in and out is the caller's.
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
    // unless their rings, for an input and a gradient, leave the second-level cache or there are too few images.
    long group_blocks() const {
        constexpr long CACHE = 512 * 1024 / sizeof(float);
        long fitting = std::max(1L, CACHE / (2 * Ring{plane(), nullptr}.block()));
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

// Whether images are read where they lie: in whole tiles and vectors, with columns outside left out. Pixels of one
// channel lie far apart and push each other out of the fastest cache, unless all rows that a kernel meets fit in it.
// Where a vector is a whole cache line, copies take longer all the same.
inline bool reads_in_place(const Shape& shape) {
    constexpr long FASTEST_CACHE = 32 * 1024 / sizeof(float);
    if (VECTOR_BYTES < 64 && shape.kernel * shape.width * shape.channels > FASTEST_CACHE) return false;
    bool is_known = false;
    with_kernel_size(shape.kernel, [&](auto k) { is_known = k > 0; });
    return is_known && shape.width % TILE == 0 && shape.channels % LANES == 0;
}

// fetch(at) for the vectors at channel c of a row, that is to have them brought into the second-level cache.
template <class Fetch>
inline void fetch_row(Shape shape, long n, long y, long c, Fetch fetch) {
    long at = shape.at(n, y, 0, c);
    for (long x = 0; x < shape.width; x++) fetch(at + x * shape.channels);
}

inline void fetch(const float* from) { __builtin_prefetch(from, 0, 2); }

// How a thread reads the rows of one image after another: in place, or as copies in a ring.
class Reader {
public:
    // Floats that a reader needs.
    static long size(const Shape& shape, Plane plane, bool in_place) {
        return table_size(shape) + (in_place ? 0 : shape.group_blocks() * Ring{plane, nullptr}.block());
    }

    Reader(const Shape& shape, Plane plane, bool in_place, float* memory)
        : rows{reinterpret_cast<const float**>(memory), shape.channels, LANES},
          shape(shape),
          ring{plane, memory + table_size(shape)},
          in_place(in_place) {
        if (in_place) return;
        rows.stride = LANES, rows.block = ring.block();
        std::fill(memory, memory + size(shape, plane, in_place), 0.0f);
        for (long y = 0; y < shape.height; y++) rows.at[y] = ring.row(y);
    }

    // The channels from `group` to `end` of image n come next, of `tensor` where they are read in place.
    void begin(const float* tensor, Groups::Item item) {
        image = item, next = 0;
        if (!in_place) return;
        for (long y = 0; y < shape.height; y++)
            rows.at[y] = tensor + shape.at(image.n, y, 0, image.group) - ring.plane.before * shape.channels;
    }

    // Have the rows that row y of the output needs. read(at, c, lanes) is a vector of them.
    template <class Read>
    void reach(long y, Read read) {
        for (long end = y + ring.plane.last(y) - ring.plane.before; next < end; next++)
            if (!in_place) copy(read);
    }

    // The pixels of row y in a block of the channels.
    const float* pixels(long y, long block) const {
        return rows.at[y] + ring.plane.before * rows.stride + block * rows.block;
    }

    Rows rows;
    long next = 0;  // the row that has not been read

private:
    template <class Read>
    void copy(Read read) {
        float* row = ring.row(next) + ring.plane.before * LANES;
        for (long x = 0; x < shape.width; x++)
            for (long c = image.group, at = shape.at(image.n, next, x, c); c < image.end; c += LANES, at += LANES)
                store(row + x * LANES + (c - image.group) / LANES * rows.block, read(at, c, image.end - c));
    }

    static long table_size(const Shape& shape) {
        return round_up(shape.height * sizeof(float*) / sizeof(float), LINE);
    }

    static constexpr long LINE = 16;  // floats on a cache line
    Shape shape;
    Ring ring;
    bool in_place;
    Groups::Item image;
};

// One image and group of channels of `convolve`.
template <long K, class Finish>
void convolve_image(Shape shape, const float* x, const float* filters, const float* bias, Groups::Item item,
                    Reader& reader, Finish finish) {
    auto [n, group, end] = item;
    Plane plane = shape.plane();
    long taps = plane.kernel * plane.kernel;
    reader.begin(x, item);
    for (long y = 0; y < plane.height; y++) {
        reader.reach(y, [=](long at, long, long lanes) { return load(x + at, lanes); });
        for (long c = group; c < end; c += LANES) {
            // After the last row that is the next image's first. Fetching what is not there does no harm.
            fetch_row(shape, n, reader.next, c, [=](long at) { fetch(x + at); });
            Vector offset = bias ? load(bias + c, end - c) : Vector{};
            long row = shape.at(n, y, 0, c), lanes = end - c;
            convolve_row<K>(plane, reader.rows, (c - group) / LANES, filters + c * taps, y,
                            [=, n = n](long i, Vector* values, long count) {
                                // Added last: a large bias then costs no digits of the sum.
#pragma GCC unroll 8
                                for (long j = 0; j < count; j++) values[j] += offset;
                                finish(n, y * shape.width + i, row + i * shape.channels, c, lanes, values, count);
                            });
        }
    }
}

// finish(n, pixel, at, c, lanes, values, count) gets the vectors of the convolution of image n, `count` pixels of a row
// at a time.
template <class Finish>
void convolve(const Shape& shape, Arena& arena, const float* x, const float* weight, const float* bias, Finish finish) {
    long taps = shape.kernel * shape.kernel, filters_size = taps * shape.padded_channels();
    Groups groups(shape);
    bool in_place = reads_in_place(shape);
    long scratch_size = filters_size + Reader::size(shape, shape.plane(), in_place);
    float* scratch = arena.take(shape.threads * scratch_size);
    Share images(shape.batch * groups.count, shape.threads);
    with_kernel_size(shape.kernel, [&](auto k) {
        constexpr long K = decltype(k)::value;
#pragma omp parallel num_threads(shape.threads)
        {
            float* filters = scratch + omp_get_thread_num() * scratch_size;
            pack_filters(weight, shape.channels, taps, false, filters);
            Reader reader(shape, shape.plane(), in_place, filters + filters_size);
            images.out([&](long item) {
                convolve_image<K>(shape, x, filters, bias, groups.of(item), reader, finish);
            });
            streamed();
        }
    });
}

// One chunk of the batch and group of channels of `convolve_gradients`. part, [channels / LANES][taps, then bias]
// [LANES], is null where the filters' gradient is not wanted.
template <long K, class Gradient>
void convolve_gradients_chunk(Shape shape, const float* x, const float* filters, Gradient gradient,
                              const float* residual, float* dx, float* part, Groups::Item chunk, Reader& pixels,
                              Reader& slopes) {
    auto [number, group, end] = chunk;
    Plane plane = shape.plane(), flipped = shape.flipped_plane();
    long taps = plane.kernel * plane.kernel;
    for (long n = shape.batch * number / CHUNKS; n < shape.batch * (number + 1) / CHUNKS; n++) {
        pixels.begin(x, {n, group, end});
        slopes.begin(gradient.tensor(), {n, group, end});
        for (long y = 0; y < plane.height; y++) {
            if (part) pixels.reach(y, [=](long at, long, long lanes) { return load(x + at, lanes); });
            slopes.reach(y, gradient);
            for (long c = group; c < end; c += LANES) {
                long block = (c - group) / LANES, row = shape.at(n, y, 0, c), lanes = end - c;
                fetch_row(shape, n, slopes.next, c, [=](long at) { gradient.fetch(at); });
                if (part) {
                    fetch_row(shape, n, pixels.next, c, [=](long at) { fetch(x + at); });
                    float* sums = part + block * (taps + 1) * LANES;
                    const float* row_slopes = slopes.pixels(y, block);
                    long stride = slopes.rows.stride;
                    add_filter_gradient<K>(plane, pixels.rows, block, row_slopes, stride, y, sums);
                    add_up(row_slopes, stride, shape.width, sums + taps * LANES);
                }
                if (dx)
                    convolve_row<K>(flipped, slopes.rows, block, filters + c * taps, y,
                                    [=](long i, Vector* values, long count) {
#pragma GCC unroll 8
                                        for (long j = 0; j < count; j++) {
                                            long at = row + (i + j) * shape.channels;
                                            if (residual) values[j] += load(residual + at, lanes);
                                            stream(dx + at, values[j], lanes);
                                        }
                                    });
            }
        }
    }
}

// gradient(at, c, lanes) is the gradient of the convolution's output, gradient.fetch(at) fetches it, and
// gradient.tensor() is where it lies, or null where it is computed. Its input's is written to dx, with `residual` added;
// its filters' and bias's to dweight and dbias. residual, dx, and dweight with dbias, may be null.
template <class Gradient>
void convolve_gradients(const Shape& shape, Arena& arena, const float* x, const float* weight, Gradient gradient,
                        const float* residual, float* dx, float* dweight, float* dbias) {
    long taps = shape.kernel * shape.kernel, filters_size = taps * shape.padded_channels();
    long part_size = dweight ? (taps + 1) * shape.padded_channels() : 0;
    float* parts = arena.take(CHUNKS * part_size);  // [chunk][channels / LANES][taps, then bias][LANES]
    Groups groups(shape);
    bool in_place = reads_in_place(shape);
    long pixels_size = Reader::size(shape, shape.plane(), in_place);
    bool slopes_in_place = in_place && gradient.tensor();
    long slopes_size = Reader::size(shape, shape.flipped_plane(), slopes_in_place);
    long scratch_size = filters_size + pixels_size + slopes_size;
    float* scratch = arena.take(shape.threads * scratch_size);
    Share chunks(CHUNKS * groups.count, shape.threads);
    with_kernel_size(shape.kernel, [&](auto k) {
        constexpr long K = decltype(k)::value;
#pragma omp parallel num_threads(shape.threads)
        {
            float* filters = scratch + omp_get_thread_num() * scratch_size;
            pack_filters(weight, shape.channels, taps, true, filters);
            Reader pixels(shape, shape.plane(), in_place, filters + filters_size);
            Reader slopes(shape, shape.flipped_plane(), slopes_in_place, filters + filters_size + pixels_size);
            chunks.out([&](long item) {
                auto chunk = groups.of(item);
                float* part = dweight ? parts + chunk.n * part_size + chunk.group * (taps + 1) : nullptr;
                if (part) std::fill(part, part + round_up(chunk.end - chunk.group, LANES) * (taps + 1), 0.0f);
                convolve_gradients_chunk<K>(shape, x, filters, gradient, residual, dx, part, chunk, pixels, slopes);
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
