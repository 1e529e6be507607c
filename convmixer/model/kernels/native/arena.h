// Memory that a thread keeps from call to call, so that no pass waits for pages from the operating system.
#pragma once

#include <cstdlib>
#include <new>
#include <vector>

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
