// Memory: large pages for tensors, and what a thread keeps from call to call, so that no pass waits for pages.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif

// Asks for large pages behind n floats: a row of a batch lies on several small ones, and looking all of them up takes
// time. Where the system has none, or they are in place, nothing happens.
inline void ask_for_large_pages(float* tensor, long n) {
#if defined(__linux__)
    constexpr uintptr_t LARGE = 1 << 21;
    uintptr_t first = (reinterpret_cast<uintptr_t>(tensor) + LARGE - 1) / LARGE * LARGE;
    uintptr_t last = reinterpret_cast<uintptr_t>(tensor + n) / LARGE * LARGE;
    if (tensor && first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

class Arena {
public:
    // Forget what was taken; one block then holds as much as the last call needed.
    void start() {
        if (blocks.size() > 1) {
            long total = needed;
            clear();
            add(total);
        }
        used = needed = 0;
    }

    // n floats on a cache line of their own, not initialised. Throws std::bad_alloc.
    float* take(long n) {
        n = (n + 15) / 16 * 16;
        needed += n;
        if (blocks.empty() || used + n > size) add(n > size ? n : size);
        float* taken = blocks.back() + used;
        used += n;
        return taken;
    }

    ~Arena() { clear(); }

private:
    void add(long n) {
        void* block = std::aligned_alloc(64, n * sizeof(float));
        if (!block) throw std::bad_alloc();
        blocks.push_back(static_cast<float*>(block));
        size = n;
        used = 0;
    }

    void clear() {
        for (float* block : blocks) std::free(block);
        blocks.clear();
        size = used = 0;
    }

    std::vector<float*> blocks;
    long size = 0, used = 0, needed = 0;  // of the last block; since start()
};
