// A pool of threads that take the numbers of a loop, and memory that each keeps for its temporaries.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

namespace kernels {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Loops are short and follow each other closely, and other programs may hold a core. So who calls
// waits for numbers that others have taken, not for threads: one that comes late finds nothing left.
class Pool {
  public:
    typedef void (*Task)(void* state, long number);

    // `task(state, i)` for all i below `count`, on this thread and `threads - 1` of the pool. Where
    // the pool is at work for another caller, or `count` is 1, this thread does all.
    void run(long count, int threads, Task task, void* state) {
        std::unique_lock<std::mutex> turn(busy, std::try_to_lock);
        int helpers = (int)std::min<long>({threads, count, MOST}) - 1;
        if (helpers < 1 || !turn.owns_lock() || count > (long)LEFT) {
            for (long i = 0; i < count; i++) task(state, i);
            return;
        }
        for (; started < helpers; started++)
            std::thread([this, id = started] { serve(id); }).detach();
        this->task = task, this->state = state;
        done = 0, failed = false;
        offer.store(((offer.load() >> 40) + 1) << 40 | (uint64_t)helpers << 32 | (uint64_t)count);
        if (asleep.load()) {
            std::lock_guard<std::mutex> hold(sleep);
            wake.notify_all();
        }
        while (work(offer.load(), -1)) {}
        for (int turns = 0; done.load(std::memory_order_acquire) < count; turns++)
            turns < 4000 ? relax() : std::this_thread::sleep_for(std::chrono::microseconds(10));
        if (failed) throw std::bad_alloc();
    }

  private:
    static constexpr int MOST = 256;
    static constexpr uint64_t LEFT = 0xffffffff;
    std::mutex busy, sleep;
    std::condition_variable wake;
    Task task;
    void* state;
    int started = 0;
    std::atomic<int> asleep{0};
    std::atomic<long> done{0};
    std::atomic<bool> failed{false};
    // the number of the loop (24 bits), its helpers (8), and how many numbers nobody has taken (32)
    std::atomic<uint64_t> offer{0};

    static bool is_for(uint64_t offered, int id) {
        return (offered & LEFT) && id < (int)(offered >> 32 & 0xff);
    }

    // Take a number of this offer and do it; false where it was not for this thread or is none now.
    bool work(uint64_t offered, int id) {
        if (!is_for(offered, id)) return false;
        if (!offer.compare_exchange_strong(offered, offered - 1)) return is_for(offered, id);
        try {
            task(state, (long)(offered & LEFT) - 1);
        } catch (...) {
            failed = true;
        }
        done.fetch_add(1, std::memory_order_release);
        return true;
    }

    void serve(int id) {
        for (;;) {
            auto since = std::chrono::steady_clock::now();
            for (int turns = 1; !is_for(offer.load(), id); turns++) {
                relax();
                if (turns % 64) continue;
                if (std::chrono::steady_clock::now() - since < std::chrono::microseconds(20)) continue;
                std::unique_lock<std::mutex> hold(sleep);
                asleep.fetch_add(1);
                wake.wait(hold, [&] { return is_for(offer.load(), id); });
                asleep.fetch_sub(1);
            }
            while (work(offer.load(), id)) {}
        }
    }
};

inline Pool*& pool() {
    static Pool* pool = new Pool;  // never freed: its threads end with the process
    return pool;
}

// `function(i)` for all i below `count`, each on one of so many threads.
template <typename F> void parallel(long count, int threads, F function) {
    pool()->run(count, threads, [](void* f, long i) { (*(F*)f)(i); }, &function);
}

// Memory for `size` numbers that this thread keeps for the next call with the same `slot`.
template <typename T> T* scratch(int slot, size_t size) {
    struct Kept {
        void* memory = nullptr;
        size_t bytes = 0;
        ~Kept() { free(memory); }
    };
    static thread_local Kept kept[8];
    Kept& mine = kept[slot];
    size_t bytes = (size * sizeof(T) + 4096) / 4096 * 4096;
    if (mine.bytes < bytes) {
        free(mine.memory);
        mine.memory = nullptr, mine.bytes = 0;
        if (posix_memalign(&mine.memory, 4096, bytes)) throw std::bad_alloc();
        mine.bytes = bytes;
    }
    return (T*)mine.memory;
}

}  // namespace kernels
