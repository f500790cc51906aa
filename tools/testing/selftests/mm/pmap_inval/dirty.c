// SPDX-License-Identifier: GPL-2.0
/*
 * Accessed, dirty and soft-dirty bits are never lost.
 *
 * Writers, each on a CPU of its own, keep writing ever larger numbers to pages
 * of theirs, while the main thread takes the mapping away under them, in all
 * the ways that have to save a dirty bit which a CPU may set at any moment:
 *
 *   swap	the page is reclaimed (MADV_PAGEOUT) and comes back. If the
 *		dirty bit was lost, so is the write: an older number comes back
 *   protect	likewise, with mprotect() to and fro in between
 *   unmap	a shared file is unmapped while it is written to, written back
 *		and dropped from memory. Each page must have on disk what was
 *		written to it last
 *   msync	likewise, but it stays mapped: on disk must be no less than was
 *		in memory when msync() began
 *   soft-dirty	the bits are cleared; a page that is written to afterwards must
 *		have its bit set
 *
 * A writer knows the last number that it wrote to a page, and looks at it before
 * it writes the next. Faults while the mapping is away are expected.
 *
 * Needs two RAM disks, /dev/ram0 to swap to and /dev/ram1 to write back to.
 *
 * usage: dirty [name...]	DIRTY_SECONDS=n: time per case
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>

#include "kselftest.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define PAGE		4096UL
#define NR		64UL		/* pages per writer */
#define MAX_WRITERS	7
#define AT		((char *)(64UL << 30))
#define SWAP_DISK	"/dev/ram0"
#define FILE_DISK	"/dev/ram1"
#define RW		(PROT_READ | PROT_WRITE)

struct writer {
	pthread_t thread;
	int idx, cpu;
	char *at;
	atomic_ulong last[NR];	/* last number that certainly was written */
	atomic_ulong passes;
	atomic_bool parked;
};

struct test {
	const char *name;
	bool (*begin)(void);
	void (*round)(void);
	void (*end)(void);
};

static struct writer writers[MAX_WRITERS];
static int nr_writers, pagemap, disk = -1;
static atomic_bool park, quit, checking, hit_taken;
static const char *bad;
static uint64_t bad_got, bad_want;
static size_t bad_page;
static unsigned long rounds, special;
static uint64_t *buffer;

static __thread sigjmp_buf fault_env;
static __thread atomic_bool fault_expected;

static void must(bool ok, const char *what)
{
	if (!ok)
		ksft_exit_fail_msg("dirty: %s: %s\n", what, strerror(errno));
}

static void doze(long ns)
{
	struct timespec ts = { .tv_nsec = ns };

	nanosleep(&ts, NULL);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static void on_fault(int sig)
{
	if (!fault_expected) {
		signal(sig, SIG_DFL);
		return;
	}
	atomic_store_explicit(&fault_expected, false, memory_order_relaxed);
	siglongjmp(fault_env, 1);
}

static void lost(const char *what, size_t page, uint64_t got, uint64_t want)
{
	if (atomic_exchange(&hit_taken, true))
		return;
	bad_page = page;
	bad_got = got;
	bad_want = want;
	bad = what;
}

static atomic_ulong *word(char *base, size_t page)
{
	return (atomic_ulong *)(base + page * PAGE);
}

/* Read and write one page; false if it was not there, or not to be written to. */
static bool step(struct writer *w, size_t i)
{
	uint64_t want = atomic_load_explicit(&w->last[i], memory_order_relaxed), got;

	if (sigsetjmp(fault_env, 1))
		return false;
	atomic_store_explicit(&fault_expected, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	got = atomic_load_explicit(word(w->at, i), memory_order_relaxed);
	if (atomic_load_explicit(&checking, memory_order_relaxed) && got < want)
		lost("an older number came back", w->idx * NR + i, got, want);
	atomic_store_explicit(word(w->at, i), want + 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&fault_expected, false, memory_order_relaxed);
	/* A number that was written but not noted is written again. */
	atomic_store_explicit(&w->last[i], want + 1, memory_order_release);
	return true;
}

static void *write_on(void *arg)
{
	struct writer *w = arg;

	pin(w->cpu);
	while (!atomic_load(&quit)) {
		if (atomic_load(&park)) {
			atomic_store(&w->parked, true);
			doze(50000);
			continue;
		}
		atomic_store(&w->parked, false);
		for (size_t i = 0; i < NR; i++)
			step(w, i);
		atomic_fetch_add(&w->passes, 1);
	}
	return NULL;
}

/* Park the writers, and wait until none is in the middle of anything. */
static void stop_writers(void)
{
	atomic_store(&park, true);
	for (int i = 0; i < nr_writers; i++)
		while (!atomic_load(&writers[i].parked))
			doze(20000);
}

static void start_writers(void)
{
	atomic_store(&park, false);
	for (int i = 0; i < nr_writers; i++)
		while (atomic_load(&writers[i].parked))
			doze(20000);
}

/* Let each writer go over all of its pages, once at least. */
static void wait_for_a_pass(void)
{
	uint64_t seen;

	for (int i = 0; i < nr_writers; i++) {
		seen = atomic_load(&writers[i].passes);
		while (atomic_load(&writers[i].passes) < seen + 2)
			doze(20000);
	}
}

static size_t len(void)
{
	return nr_writers * NR * PAGE;
}

static void reset(void)
{
	for (int i = 0; i < nr_writers; i++)
		for (size_t j = 0; j < NR; j++)
			atomic_store(&writers[i].last[j], 0);
}

static void map_anon(void)
{
	must(mmap(AT, len(), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == AT, "mmap");
	madvise(AT, len(), MADV_NOHUGEPAGE);
	reset();
	atomic_store(&checking, true);
}

static void map_file(void)
{
	must(mmap(AT, len(), RW, MAP_SHARED | MAP_FIXED, disk, 0) == AT, "mmap " FILE_DISK);
}

/* swap, protect */

static bool has_swap(void)
{
	static char page[PAGE];
	uint32_t *head = (uint32_t *)(page + 1024);
	static bool on;
	off_t size;
	int fd;

	if (on)
		return true;
	fd = open(SWAP_DISK, O_RDWR);
	if (fd < 0)
		return false;
	size = lseek(fd, 0, SEEK_END);
	head[0] = 1;			/* version */
	head[1] = size / PAGE - 1;	/* last page */
	memcpy(page + PAGE - 10, "SWAPSPACE2", 10);
	on = pwrite(fd, page, PAGE, 0) == PAGE;
	close(fd);
	on = on && !swapon(SWAP_DISK, 0);
	return on;
}

static bool begin_swap(void)
{
	if (!has_swap())
		return false;
	map_anon();
	return true;
}

static void round_swap(void)
{
	unsigned char in[MAX_WRITERS * NR];

	must(!madvise(AT, len(), MADV_PAGEOUT), "MADV_PAGEOUT");
	must(!mincore(AT, len(), in), "mincore");
	for (size_t i = 0; i < nr_writers * NR; i++)
		special += !(in[i] & 1);
}

static void round_protect(void)
{
	must(!mprotect(AT, len(), PROT_READ), "mprotect");
	round_swap();
	must(!mprotect(AT, len(), RW), "mprotect");
	round_swap();
	must(!mprotect(AT, len(), PROT_NONE), "mprotect");
	must(!mprotect(AT, len(), RW), "mprotect");
}

/* unmap, msync */

static bool begin_file(void)
{
	disk = open(FILE_DISK, O_RDWR);
	if (disk < 0)
		return false;
	buffer = aligned_alloc(PAGE, len());
	must(buffer, "aligned_alloc");
	memset(buffer, 0, len());
	must(pwrite(disk, buffer, len(), 0) == (ssize_t)len() && !fsync(disk), "pwrite");
	map_file();
	reset();
	atomic_store(&checking, true);
	return true;
}

static void compare(const uint64_t *want, const char *what)
{
	int fd = open(FILE_DISK, O_RDONLY | O_DIRECT);
	uint64_t got;

	must(fd >= 0 && pread(fd, buffer, len(), 0) == (ssize_t)len(), "reading " FILE_DISK);
	close(fd);
	for (size_t i = 0; i < nr_writers * NR; i++) {
		got = buffer[i * PAGE / 8];
		if (got < want[i])
			lost(what, i, got, want[i]);
	}
}

static void snapshot(uint64_t *want)
{
	for (int i = 0; i < nr_writers; i++)
		for (size_t j = 0; j < NR; j++)
			want[i * NR + j] = atomic_load_explicit(&writers[i].last[j],
								memory_order_acquire);
}

static void round_msync(void)
{
	uint64_t want[MAX_WRITERS * NR];

	snapshot(want);
	must(!msync(AT, len(), MS_SYNC), "msync");
	compare(want, "written before msync(), not on disk");
	special++;
}

static void round_unmap(void)
{
	uint64_t want[MAX_WRITERS * NR];

	/* All that any writer could write is in "last" once it is gone. */
	must(!munmap(AT, len()), "munmap");
	stop_writers();
	snapshot(want);
	must(!fsync(disk), "fsync");
	compare(want, "written before munmap(), not on disk");
	must(!posix_fadvise(disk, 0, len(), POSIX_FADV_DONTNEED), "posix_fadvise");
	map_file();
	start_writers();
	wait_for_a_pass();
	special++;
}

static void end_file(void)
{
	close(disk);
	free(buffer);
}

/* soft-dirty */

static uint64_t map_entry(size_t page)
{
	uint64_t e = 0;

	must(pread(pagemap, &e, 8, ((uintptr_t)AT / PAGE + page) * 8) == 8, "pagemap");
	return e;
}

static bool begin_soft_dirty(void)
{
	map_anon();
	start_writers();
	wait_for_a_pass();
	return map_entry(0) >> 55 & 1;
}

static void round_soft_dirty(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);
	uint64_t before[MAX_WRITERS * NR], after[MAX_WRITERS * NR];

	must(fd >= 0 && write(fd, "4", 1) == 1, "clear_refs");
	close(fd);
	/* Bits of pages that are not written to any more must come out clear. */
	snapshot(before);
	wait_for_a_pass();
	stop_writers();
	snapshot(after);
	for (size_t i = 0; i < nr_writers * NR; i++) {
		/* +1: one write may lie between the clearing and its note */
		if (after[i] > before[i] + 1 && !(map_entry(i) >> 55 & 1))
			lost("written to, but not soft-dirty", i, before[i], after[i]);
		special += after[i] > before[i] + 1;
	}
	start_writers();
}

static const struct test tests[] = {
	{ "swap", begin_swap, round_swap, NULL },
	{ "protect", begin_swap, round_protect, NULL },
	{ "unmap", begin_file, round_unmap, end_file },
	{ "msync", begin_file, round_msync, end_file },
	{ "soft-dirty", begin_soft_dirty, round_soft_dirty, NULL },
};

static bool wanted(const struct test *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], t->name))
			return true;
	return argc < 2;
}

static void run(const struct test *t, double seconds)
{
	double until;

	bad = NULL;
	atomic_store(&hit_taken, false);
	rounds = 0;
	special = 0;
	if (!t->begin()) {
		stop_writers();
		ksft_test_result_skip("%s: the kernel or a RAM disk is missing for it\n", t->name);
		return;
	}
	start_writers();
	wait_for_a_pass();
	until = now() + seconds;
	while (!bad && now() < until) {
		t->round();
		rounds++;
		doze(200000);
	}
	stop_writers();
	atomic_store(&checking, false);
	munmap(AT, len());
	if (t->end)
		t->end();
	if (bad)
		ksft_print_msg("%s: round %lu, page %zu: %s: %llu, expected %llu\n", t->name,
			       rounds, bad_page, bad, (unsigned long long)bad_got,
			       (unsigned long long)bad_want);
	/* Who has done nothing must not pass. */
	if (!special)
		ksft_print_msg("%s: nothing was paged out, written back or marked\n", t->name);
	ksft_test_result(!bad && special, "%s: %lu rounds, %lu checked or paged out\n",
			 t->name, rounds, special);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_fault };
	char *s = getenv("DIRTY_SECONDS");
	double seconds = s ? atof(s) : 3;
	unsigned int i, plan = 0;
	int cpus[MAX_WRITERS + 1], n = 0;
	cpu_set_t set;

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("dirty: needs root\n");
	if (seconds <= 0)
		ksft_exit_fail_msg("dirty: DIRTY_SECONDS must be a positive number\n");
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		plan += wanted(&tests[i], argc, argv);
	if (!plan)
		ksft_exit_fail_msg("dirty: no such case\n");
	must(!sched_getaffinity(0, sizeof(set), &set), "sched_getaffinity");
	for (i = 0; i < CPU_SETSIZE && n < MAX_WRITERS + 1; i++)
		if (CPU_ISSET(i, &set))
			cpus[n++] = i;
	if (n < 2)
		ksft_exit_skip("dirty: needs two CPUs\n");
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	must(pagemap >= 0, "pagemap");
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);

	pin(cpus[0]);
	nr_writers = n - 1;
	atomic_store(&park, true);
	for (i = 0; i < (unsigned int)nr_writers; i++) {
		writers[i].idx = i;
		writers[i].cpu = cpus[i + 1];
		writers[i].at = AT + i * NR * PAGE;
		must(!pthread_create(&writers[i].thread, NULL, write_on, &writers[i]),
		     "pthread_create");
	}
	ksft_set_plan(plan);
	ksft_print_msg("%d writers, %lu pages each\n", nr_writers, NR);
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		if (wanted(&tests[i], argc, argv))
			run(&tests[i], seconds);
	ksft_finished();
}
