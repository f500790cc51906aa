// SPDX-License-Identifier: GPL-2.0
/*
 * Hunt for stale TLB translations from user space.
 *
 * Readers, each on a CPU of its own, keep touching a set of pages while an
 * initiator changes their mapping by a system call.  Each round of a hunter
 * goes through four phases, kept with the round's number in one atomic word:
 *
 *   SETUP     the initiator maps the pages and writes this round's OLD value
 *             into each of them; readers keep off
 *   LIVE      readers touch the pages, must find OLD, and so have the
 *             translations in their TLBs; then they say "warm"
 *   CHANGING  the system call runs; readers keep touching, nothing is judged
 *   GONE      the system call has returned; readers touch each page once more
 *
 * An access is judged only if the word was the same before and after it.  A
 * *stale hit* is an access in GONE which behaves as if the system call had not
 * happened; or one in LIVE which does not find OLD, as a translation from the
 * round before would do.  One stale hit fails the hunter.  The initiator looks
 * for itself, too, which is what remains on a single CPU.
 *
 * What GONE demands (the oracle):
 *
 *   ZERO      the page reads as zero        (MADV_DONTNEED of anonymous memory)
 *   FRESH     the page reads as NEW         (MAP_FIXED over it; broken COW; paged
 *                                            out, freed, collapsed or migrated,
 *                                            then written)
 *   FAULT     reading faults                (munmap, PROT_NONE)
 *   READONLY  writing faults, reading finds OLD   (mprotect down, userfaultfd)
 *   MOVED     reading the old place faults, the new one has OLD      (mremap)
 *   COPIED    writing succeeds, but the child forked in CHANGING still finds
 *             OLD                                             (fork and COW)
 *   TRACKED   writing succeeds, and the page is known to be written to: it is
 *             soft-dirty (clear_refs), or kept (MADV_FREE, then paged out). Only
 *             the one reader writes
 *
 * With overlapping MADV_DONTNEED callers GONE begins when the first of them
 * returns, and is judged on the pages that both of them were asked to drop:
 * whoever returns promises that they are gone, whoever cleared them.
 *
 * What has no hunter, as there is nothing to see: MADV_FREE until reclaim has run
 * (OLD is a legal answer; so MADV_PAGEOUT comes after it, and what is written in
 * between has to stay); a NUMA hint that does not come (its pages move as in
 * "migrate"); a huge page that is split, but for what is done to its parts; the CPU
 * that was offline, which comes back with an empty TLB (the others are looked at);
 * and exit(), after which nobody of that process looks.
 *
 * A hunter that has done nothing must not pass: it fails unless all readers
 * were warm in at least half of its rounds, and in MIN_WARM of them (and unless
 * the special thing that it is made for, a sleep or an overlap, was seen).
 *
 * A reader stays on a window of few pages around the system call, and goes to
 * and fro: TLBs have few ways, and of 34 pages 512 apart only the last few
 * that were touched are still there.
 *
 * usage: hunt [name-of-hunter...]
 * HUNT_SECONDS=n in the environment: time per hunter instead of the short form.
 * HUNT_SPIN=1: for an emulator that runs one CPU at a time and takes the next one at
 * a PAUSE, or when a timer interrupts: waiting is spinning, and a thread sets timers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef MPOL_MF_MOVE
#define MPOL_MF_MOVE 2
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define SHORT_MS	2300
#define MIN_WARM	10
#define MAX_PAGES	512
#define MAX_CPUS	64
#define MAX_READERS	8
#define MAX_AREAS	3
#define WINDOW		6
#define ROUNDS_PER_MAP	8
#define TAIL_PAGES	1024
#define NR_HUGETLB	8
#define HUGETLB_POOL	(3 * NR_HUGETLB)	/* two files and a private mapping */
#define WARM_NS		(1000 * 1000000ULL)
#define STUCK_NS	(60 * 1000000000ULL)
#define GRACE_NS	(20 * 1000000000ULL)

#define SZ_1G		0x40000000UL
/*
 * Areas lie at fixed places far from where mmap() puts things on its own, so
 * that nothing else gets mapped where a reader expects a fault.
 */
#define ARENA(i)	((char *)(64 * SZ_1G + (i) * 8 * SZ_1G))
#define MOVE_BY		(2 * SZ_1G)
#define ALIAS_AT	(4 * SZ_1G)
#define FILE_SIZE	(128UL << 20)

enum phase { SETUP, LIVE, CHANGING, GONE };
#define STATE(round, phase)	((uint32_t)(round) << 2 | (phase))
#define PHASE(state)		((state) & 3)
#define ROUND(state)		((state) >> 2)

enum oracle { ZERO, FRESH, FAULT, READONLY, MOVED, COPIED, TRACKED };

#define F_REMAP		0x001	/* the change destroys the mapping */
#define F_WRITE		0x002	/* readers write */
#define F_THP		0x004	/* a huge page among small ones */
#define F_FILE		0x008	/* needs the area's two files */
#define F_LAZY		0x010	/* readers sleep during the change */
#define F_HOG		0x020	/* ... and another process runs there */
#define F_MIGRATE	0x040	/* a reader that changes CPUs */
#define F_NOISE		0x080	/* another thread flushes all the time */
#define F_OVERLAP	0x100	/* a second caller on the same pages */
#define F_DISJOINT	0x200	/* several initiators, each its own pages */
#define F_SWAP		0x400
#define F_VECTOR	0x800
#define F_COLLAPSE	0x1000	/* F_THP, but small until the change */
#define F_HUGETLB	0x2000
#define F_UFFD		0x4000
#define F_NODES		0x8000	/* needs two NUMA nodes */
#define F_HOTPLUG	0x10000	/* a CPU is offline during the change */
#define F_ALONE		0x20000	/* one reader, who alone touches in GONE */

struct area;

struct hunter {
	const char *name;
	void (*map)(struct area *a);
	void (*fill)(struct area *a);
	void (*change)(struct area *a);
	void (*finish)(struct area *a);	/* after GONE, readers keep off */
	enum oracle oracle;
	unsigned int flags;
	int min_cpus;
};

struct ack {
	alignas(64) atomic_uint live;
	atomic_uint gone;
};

struct area {
	alignas(64) atomic_uint state;
	alignas(64) atomic_uint helper_done;
	struct ack ack[MAX_READERS];
	const struct hunter *h;
	int idx;
	uint32_t round;
	char *base;			/* first page of the range */
	size_t len;			/* what the change covers */
	size_t map_len;			/* what is mapped, if that is more */
	char *huge;			/* F_THP: the huge page */
	unsigned int nr, nr_gone;	/* pages; those (the first) that GONE judges */
	uint32_t off[MAX_PAGES];	/* in pages from base */
	int fd[2], cur;
	char *alias[2];
	pid_t child;
	uint64_t rnd;
	unsigned long ops, warm, special, thp_seen;
};

struct view {				/* a reader's idea of an area */
	uint32_t round;
	unsigned int first, n;		/* its window */
};

struct reader {
	int idx, cpu;
	pthread_t thread;
	uint64_t rnd;
	struct view view[MAX_AREAS];
	bool roams, slept;
	unsigned long checks, special;
};

struct hit {
	int area, cpu;
	enum phase phase;
	uint32_t round;
	unsigned int page, nr, stride;
	bool faulted;
	const char *what;
	uint64_t got, want, ns;
};

static long page_size, huge_size;
static bool has_thp;
static bool spin;
static int cpus[MAX_CPUS], nr_cpus;
static int pidfd, uffd = -1, pagemap;
static struct area *areas;
static int nr_areas, nr_readers;
static struct reader readers[MAX_READERS];
static atomic_uint *child_go;	/* shared with the forked children */

static atomic_bool stop, readers_stop;
static uint64_t started, deadline;
static atomic_bool hit_taken;
static struct hit hit;

static __thread sigjmp_buf fault_env;
static __thread atomic_bool fault_expected;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static uint32_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s >> 16;
}

static void must(bool ok, const char *what)
{
	if (!ok)
		ksft_exit_fail_msg("hunt: %s: %s\n", what, strerror(errno));
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void doze(long ns)
{
	struct timespec ts = { .tv_nsec = ns };

	nanosleep(&ts, NULL);
}

/*
 * Spin a little, then sleep: under emulation a spinning CPU steals another's time,
 * unless they take turns.
 */
static void relax(unsigned int *spins)
{
	if (spin || ++*spins < 300)
		cpu_relax();
	else
		doze(20000);
}

static long futex(atomic_uint *word, int op, uint32_t val)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, NULL, NULL, 0);
}

/* Accesses that may fault. */

static void on_fault(int sig)
{
	if (!fault_expected) {
		signal(sig, SIG_DFL);
		return;
	}
	fault_expected = false;
	siglongjmp(fault_env, 1);
}

/* Exactly one access each, where the program says it. */
static uint64_t load(char *p)
{
	return __atomic_load_n((uint64_t *)p, __ATOMIC_RELAXED);
}

static void store(char *p, uint64_t v)
{
	__atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED);
}

/* The access must not leave the place between two calls of this. */
static void expect_fault(bool yes)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&fault_expected, yes, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static bool try_read(char *p, uint64_t *v)
{
	if (sigsetjmp(fault_env, 0))
		return false;
	expect_fault(true);
	*v = load(p);
	expect_fault(false);
	return true;
}

static bool try_write(char *p, uint64_t v)
{
	if (sigsetjmp(fault_env, 0))
		return false;
	expect_fault(true);
	store(p, v);
	expect_fault(false);
	return true;
}

/* Values: never zero, never the same in two rounds, two pages or two roles. */

static uint64_t value(uint8_t role, uint32_t round, unsigned int i)
{
	return (uint64_t)role << 56 | (uint64_t)round << 16 | i;
}

#define OLD(round, i)		value(0x0d, round, i)
#define NEW(round, i)		value(0x7e, round, i)
#define POISON(round, i)	value(0xbd, round, i)

/* Page i, at a place in the page that differs from its neighbours'. */
static char *slot(struct area *a, char *base, unsigned int i)
{
	return base + (size_t)a->off[i] * page_size + i % 64 * 64;
}

/* Patterns */

static void place(struct area *a)
{
	size_t half = a->len / 2 / page_size * page_size;

	/* All in one place, across a page table's end, across a PMD table's end. */
	switch (rnd(&a->rnd) % 3) {
	case 0:
		a->base = ARENA(a->idx) + SZ_1G / 4;
		break;
	case 1:
		a->base = ARENA(a->idx) + SZ_1G / 2 - half;
		break;
	default:
		a->base = ARENA(a->idx) + SZ_1G - half;
	}
}

static void new_pattern(struct area *a)
{
	static const unsigned int counts[] = { 1, 5, 16, 17, 33, 34 };
	static const unsigned int strides[] = { 1, 64, 512, 0 };
	unsigned int k = rnd(&a->rnd) % 97, stride, i, at = 0;

	a->nr = k == 96 ? MAX_PAGES : counts[k / 4 % 6];
	stride = k == 96 ? 1 : strides[k % 4];

	for (i = 0; i < a->nr; i++) {
		a->off[i] = at;
		if (stride)
			at += stride;
		else	/* runs of neighbours with gaps between them */
			at += rnd(&a->rnd) % 3 ? 1 : 1 + rnd(&a->rnd) % 700;
	}
	a->len = (a->off[a->nr - 1] + 1UL) * page_size;
	if (a->h->flags & F_OVERLAP)
		a->len += TAIL_PAGES * page_size;
	a->map_len = a->len;
	place(a);
	a->nr_gone = a->nr;
	if (a->h->flags & F_OVERLAP && a->nr > 1)
		a->nr_gone = 1 + rnd(&a->rnd) % (a->nr < 6 ? a->nr - 1 : 5);
}

/*
 * Small pages, a huge one with three places in it, small pages; or nothing but
 * the huge one, which is the only way to have it flushed with its own stride.
 */
static void new_huge_pattern(struct area *a)
{
	static const unsigned int counts[] = { 0, 1, 5, 16 };
	unsigned int small = counts[rnd(&a->rnd) % 4], per = huge_size / page_size;
	unsigned int stride = rnd(&a->rnd) % 2 ? 1 : 7, lead = small * stride, i;
	bool half = rnd(&a->rnd) % 3 == 0 && !(a->h->flags & F_COLLAPSE);

	a->nr = 0;
	for (i = 0; i < small; i++)
		a->off[a->nr++] = i * stride;
	a->off[a->nr++] = lead;
	a->off[a->nr++] = lead + 100;
	a->map_len = (lead + per + lead) * (size_t)page_size;
	if (half) {		/* the change splits the huge page */
		a->len = (lead + per / 2) * (size_t)page_size;
	} else {
		a->off[a->nr++] = lead + per - 1;
		for (i = 0; i < small; i++)
			a->off[a->nr++] = lead + per + i * stride;
		a->len = a->map_len;
	}
	a->huge = ARENA(a->idx) + (rnd(&a->rnd) % 2 ? SZ_1G : SZ_1G / 2);
	a->base = a->huge - lead * (size_t)page_size;
	a->nr_gone = a->nr;
}

/* One place in each of some huge pages, across a PMD table's end or not. */
static void new_hugetlb_pattern(struct area *a)
{
	static const unsigned int counts[] = { 1, 2, 5, NR_HUGETLB };
	unsigned int per = huge_size / page_size, i;

	a->nr = counts[rnd(&a->rnd) % (a->h->flags & F_FILE ? 2 : 4)];	/* copies take long */
	for (i = 0; i < a->nr; i++)
		a->off[i] = i * per + rnd(&a->rnd) % per;
	a->map_len = a->nr * (size_t)huge_size;
	a->len = a->map_len;
	a->base = ARENA(a->idx) + SZ_1G - rnd(&a->rnd) % (a->nr + 1) * (size_t)huge_size;
	a->nr_gone = a->nr;
}

static bool is_huge(char *p)
{
	char line[256], want[32];
	bool in = false;
	long kb = 0;
	FILE *f = fopen("/proc/self/smaps", "r");

	must(f, "/proc/self/smaps");
	snprintf(want, sizeof(want), "%lx-", (unsigned long)p);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, want, strlen(want)))
			in = true;
		else if (in && sscanf(line, "AnonHugePages: %ld", &kb) == 1)
			break;
	}
	fclose(f);
	return kb > 0;
}

/* Ways to map and to fill */

static void map_anon(struct area *a)
{
	char *p = mmap(a->base, a->map_len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	must(p == a->base, "mmap");
	if (!has_thp)
		return;
	must(!madvise(p, a->map_len, MADV_NOHUGEPAGE), "MADV_NOHUGEPAGE");
	if (a->h->flags & F_THP && !(a->h->flags & F_COLLAPSE))
		must(!madvise(a->huge, huge_size, MADV_HUGEPAGE), "MADV_HUGEPAGE");
}

/* Pages as large as transparent ones, whatever the default size is. */
static int hugetlb_flags(void)
{
	return MAP_HUGETLB | __builtin_ctzl(huge_size) << MAP_HUGE_SHIFT;
}

static void map_hugetlb(struct area *a)
{
	char *p = mmap(a->base, a->map_len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | hugetlb_flags() | MAP_FIXED_NOREPLACE,
		       -1, 0);

	must(p == a->base, "mmap of hugetlb pages");
}

static void map_watched(struct area *a)
{
	struct uffdio_register reg = {
		.range = { (unsigned long)a->base, a->map_len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	map_anon(a);
	must(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
}

static void map_file(struct area *a, int flags)
{
	char *p = mmap(a->base, a->map_len, PROT_READ | PROT_WRITE, flags, a->fd[a->cur], 0);

	must(p == a->base, "mmap");
}

static void map_shared(struct area *a)
{
	map_file(a, MAP_SHARED | MAP_FIXED_NOREPLACE);
}

static void map_private(struct area *a)
{
	map_file(a, MAP_PRIVATE | MAP_FIXED_NOREPLACE);
}

static void fill_anon(struct area *a)
{
	for (unsigned int i = 0; i < a->nr; i++)
		store(slot(a, a->base, i), OLD(a->round, i));
	/* Something to clear for the one while the other overtakes it. */
	if (a->h->flags & F_OVERLAP)
		must(!madvise(a->base + a->len - TAIL_PAGES * page_size,
			      TAIL_PAGES * page_size, MADV_POPULATE_READ), "MADV_POPULATE_READ");
	if (a->h->flags & F_THP && !(a->h->flags & F_COLLAPSE) &&
	    a->round % ROUNDS_PER_MAP == 1)
		a->thp_seen += is_huge(a->huge);
}

static void fill_protected(struct area *a)
{
	must(!mprotect(a->base, a->map_len, PROT_READ | PROT_WRITE), "mprotect up");
	fill_anon(a);
}

static void uffd_protect(struct area *a, __u64 mode)
{
	struct uffdio_writeprotect wp = {
		.range = { (unsigned long)a->base, a->len }, .mode = mode,
	};

	must(!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

static void fill_watched(struct area *a)
{
	uffd_protect(a, 0);
	fill_anon(a);
}

static void fill_files(struct area *a)
{
	for (unsigned int i = 0; i < a->nr; i++) {
		store(slot(a, a->alias[a->cur], i), OLD(a->round, i));
		store(slot(a, a->alias[!a->cur], i), NEW(a->round, i));
	}
}

/* What the file has is behind what was written to the private pages. */
static void fill_cow(struct area *a)
{
	for (unsigned int i = 0; i < a->nr; i++) {
		store(slot(a, a->alias[a->cur], i), NEW(a->round, i));
		store(slot(a, a->base, i), OLD(a->round, i));
	}
}

static void fill_uncow(struct area *a)
{
	must(!madvise(a->base, a->len, MADV_DONTNEED), "MADV_DONTNEED");
	fill_files(a);
}

/* The changes */

static void do_dontneed(struct area *a)
{
	must(!madvise(a->base, a->len, MADV_DONTNEED), "MADV_DONTNEED");
}

static void do_vector(struct area *a)
{
	struct iovec iov[MAX_PAGES];

	for (unsigned int i = 0; i < a->nr; i++) {
		iov[i].iov_base = a->base + (size_t)a->off[i] * page_size;
		iov[i].iov_len = page_size;
	}
	must(syscall(SYS_process_madvise, pidfd, iov, a->nr, MADV_DONTNEED, 0) ==
	     (long)a->nr * page_size, "process_madvise");
}

static void do_munmap(struct area *a)
{
	must(!munmap(a->base, a->len), "munmap");
}

static void do_overmap(struct area *a)
{
	a->cur = !a->cur;
	map_file(a, MAP_SHARED | MAP_FIXED);
}

static void do_readonly(struct area *a)
{
	must(!mprotect(a->base, a->len, PROT_READ), "mprotect down");
}

static void do_none(struct area *a)
{
	must(!mprotect(a->base, a->len, PROT_NONE), "mprotect none");
}

static void do_uffd_protect(struct area *a)
{
	uffd_protect(a, UFFDIO_WRITEPROTECT_MODE_WP);
}

static void do_mremap(struct area *a)
{
	must(mremap(a->base, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED,
		    a->base + MOVE_BY) == a->base + MOVE_BY, "mremap");
}

static void do_break_cow(struct area *a)
{
	for (unsigned int i = 0; i < a->nr; i++)
		store(slot(a, a->base, i), NEW(a->round, i));
}

/* Bits 55 and 63, see Documentation/admin-guide/mm/pagemap.rst */
#define PM_SOFT_DIRTY	0x0080000000000000ULL
#define PM_PRESENT	0x8000000000000000ULL

static uint64_t pagemap_entry(const char *p)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, 8, (uintptr_t)p / page_size * 8) != 8)
		return 0;
	return entry;
}

static void do_pageout(struct area *a)
{
	must(!madvise(a->base, a->len, MADV_PAGEOUT), "MADV_PAGEOUT");
	for (unsigned int i = 0; i < a->nr; i++)
		a->special += !(pagemap_entry(slot(a, a->base, i)) & PM_PRESENT);
	do_break_cow(a);
}

static void do_free_only(struct area *a)
{
	must(!madvise(a->base, a->len, MADV_FREE), "MADV_FREE");
}

static void do_free(struct area *a)
{
	do_free_only(a);
	do_pageout(a);
}

static void do_collapse(struct area *a)
{
	must(!madvise(a->huge, huge_size, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	a->special += !madvise(a->huge, huge_size, MADV_COLLAPSE);
	do_break_cow(a);
}

/* All pages to the other node. */
static void do_migrate(struct area *a)
{
	int from[MAX_PAGES], to[MAX_PAGES], status[MAX_PAGES];
	void *pages[MAX_PAGES];

	for (unsigned int i = 0; i < a->nr; i++)
		pages[i] = slot(a, a->base, i);
	must(!syscall(SYS_move_pages, 0, a->nr, pages, NULL, from, 0), "move_pages");
	for (unsigned int i = 0; i < a->nr; i++) {
		to[i] = from[i] != 1;
		status[i] = -1;
	}
	must(syscall(SYS_move_pages, 0, a->nr, pages, to, status, MPOL_MF_MOVE) >= 0,
	     "move_pages");
	for (unsigned int i = 0; i < a->nr; i++)
		a->special += status[i] == to[i];
	do_break_cow(a);
}

static bool write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	if (fd >= 0)
		close(fd);
	return ok;
}

static void do_clear_refs(struct area *a)
{
	(void)a;
	must(write_file("/proc/self/clear_refs", "4"), "clear_refs");
}

static void do_fork(struct area *a)
{
	a->child = fork();
	must(a->child >= 0, "fork");
	if (a->child)
		return;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (atomic_load(child_go) < a->round)
		doze(50000);
	for (unsigned int i = 0; i < a->nr; i++)
		if (load(slot(a, a->base, i)) != OLD(a->round, i))
			_exit(1);
	_exit(0);
}

/* A stale hit */

static void stale(struct area *a, enum phase when, unsigned int i, const char *what,
		  bool faulted, uint64_t got, uint64_t want)
{
	if (!atomic_exchange(&hit_taken, true)) {
		hit = (struct hit){
			.area = a->idx, .cpu = sched_getcpu(), .phase = when,
			.round = a->round, .page = i, .nr = a->nr, .what = what,
			.stride = a->nr > 1 ? a->off[1] - a->off[0] : 0,
			.faulted = faulted, .got = got, .want = want,
			.ns = now_ns() - started,
		};
	}
	atomic_store(&stop, true);
}

static void end_fork(struct area *a)
{
	int status;

	atomic_store(child_go, a->round);
	must(waitpid(a->child, &status, 0) == a->child, "waitpid");
	if (status)
		stale(a, GONE, 0, "the parent's write is seen by the child", false, status, 0);
}

static void end_readonly(struct area *a)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < a->nr; i++)
		if (!try_read(slot(a, a->base, i), &v) || v != OLD(a->round, i))
			stale(a, GONE, i, "content changed behind a write protection",
			      false, v, OLD(a->round, i));
}

static void end_clear_refs(struct area *a)
{
	if (readers[0].view[a->idx].round != a->round)	/* it came too late */
		return;
	for (unsigned int i = 0; i < a->nr; i++)
		if (!(pagemap_entry(slot(a, a->base, i)) & PM_SOFT_DIRTY))
			stale(a, GONE, i, "written to, and not soft-dirty", false, 0, 1);
}

static void end_free(struct area *a)
{
	uint64_t v;

	if (readers[0].view[a->idx].round != a->round)
		return;
	/* Drops what is clean; what is dirty it takes back first, and then out. */
	for (int i = 0; i < 2; i++)
		must(!madvise(a->base, a->len, MADV_PAGEOUT), "MADV_PAGEOUT");
	for (unsigned int i = 0; i < a->nr; i++) {
		a->special += !(pagemap_entry(slot(a, a->base, i)) & PM_PRESENT);
		v = load(slot(a, a->base, i));
		if (v != POISON(a->round, i))
			stale(a, GONE, i, "written to after MADV_FREE, and gone",
			      false, v, POISON(a->round, i));
	}
}

/* Readers */

/* Returns false if the phase has changed meanwhile: nothing is known then. */
static bool touch(struct reader *r, struct area *a, uint32_t state, unsigned int i)
{
	uint32_t n = ROUND(state);
	char *p = slot(a, a->base, i);
	uint64_t v = 0, want = 0;
	const char *what = NULL;
	bool ok;

	if (PHASE(state) == CHANGING) {
		if (a->h->flags & F_WRITE)
			try_write(p, OLD(n, i));
		else
			try_read(p, &v);
		return atomic_load(&a->state) == state;
	}

	if (PHASE(state) == LIVE) {
		want = OLD(n, i);
		ok = try_read(p, &v);
		if (!ok || v != want)
			what = "read before the change";
		else if (a->h->flags & F_WRITE && !try_write(p, want))
			what = "write before the change";
	} else {
		switch (a->h->oracle) {
		case ZERO:
			ok = try_read(p, &v);
			if (!ok || v)
				what = "read after the change, zero expected";
			break;
		case FRESH:
			want = NEW(n, i);
			ok = try_read(p, &v);
			if (!ok || v != want)
				what = "read after the change, new page expected";
			break;
		case MOVED:
			ok = try_read(p, &v);
			if (ok) {
				what = "read after the change, fault expected";
				break;
			}
			want = OLD(n, i);
			ok = try_read(p + MOVE_BY, &v);
			if (!ok || v != want)
				what = "read at the new place";
			break;
		case FAULT:
			ok = try_read(p, &v);
			if (ok)
				what = "read after the change, fault expected";
			break;
		case READONLY:
			want = OLD(n, i);
			ok = try_read(p, &v);
			if (!ok || v != want)
				what = "read after the change";
			else if (try_write(p, POISON(n, i)))
				what = "write after the change, fault expected";
			break;
		default:
			ok = try_write(p, POISON(n, i));
			if (!ok)
				what = "write after the change";
		}
	}

	if (atomic_load(&a->state) != state)
		return false;
	r->checks += PHASE(state) == GONE;
	if (what)
		stale(a, PHASE(state), i, what, !ok, v, want);
	return true;
}

/*
 * The window to and fro, so that its pages are the youngest in the TLB.  In GONE
 * the first access tells all there is.
 */
static bool touch_window(struct reader *r, struct area *a, uint32_t state)
{
	struct view *v = &r->view[a->idx];
	unsigned int i;

	for (i = 0; i < v->n; i++)
		if (!touch(r, a, state, v->first + i))
			return false;
	if (PHASE(state) == GONE)
		return true;
	while (i--)
		if (!touch(r, a, state, v->first + i))
			return false;
	return true;
}

static bool touch_others(struct reader *r, struct area *a, uint32_t state)
{
	unsigned int nr = PHASE(state) == GONE ? a->nr_gone : a->nr;
	struct view *v = &r->view[a->idx];

	for (unsigned int i = 0; i < nr; i++)
		if (i - v->first >= v->n && !touch(r, a, state, i))
			return false;
	return true;
}

static void move_to(struct reader *r, int cpu)
{
	pin(cpu);
	r->cpu = cpu;
}

static bool go_live(struct reader *r, struct area *a, uint32_t state)
{
	struct view *v = &r->view[a->idx];

	v->n = a->nr_gone < WINDOW ? a->nr_gone : WINDOW;
	v->first = rnd(&r->rnd) % (a->nr_gone - v->n + 1);
	if (!touch_others(r, a, state) || !touch_window(r, a, state))
		return false;
	if (r->roams && a->h->flags & F_HOTPLUG) {
		/* Leave translations behind on all CPUs, also on the one that goes. */
		for (int i = nr_cpus - 1; i > 0; i--) {
			move_to(r, cpus[i]);
			if (!touch_window(r, a, state))
				return false;
		}
		return true;
	}
	if (r->roams) {
		/* Leave translations behind on a CPU that may go lazy. */
		move_to(r, cpus[1 + rnd(&r->rnd) % (nr_cpus - 1)]);
		return touch_window(r, a, state);
	}
	return true;
}

static void go_gone(struct reader *r, struct area *a, uint32_t state)
{
	touch_window(r, a, state);
	if (r->roams) {
		int from = r->cpu;

		for (int i = 1; i < nr_cpus; i++) {
			move_to(r, cpus[i]);
			touch_window(r, a, state);
			if (i == 1 && a->h->flags & F_MIGRATE)
				r->special += cpus[i] != from;
		}
	}
	touch_others(r, a, state);
}

static void sleep_through(struct reader *r, struct area *a, uint32_t state)
{
	struct rusage before, after;

	getrusage(RUSAGE_THREAD, &before);
	futex(&a->state, FUTEX_WAIT, state);
	getrusage(RUSAGE_THREAD, &after);
	if (PHASE(state) == LIVE && after.ru_nvcsw > before.ru_nvcsw)
		r->slept = true;
}

/*
 * Emulated CPUs may outnumber the real ones.  If all readers were busy all the
 * time, each round would wait until each of them had been given its slice.  So
 * one is and the others nap between two looks, except for every 16th round.  Those
 * that take turns are all busy.
 */
static void keep_warm(struct reader *r, struct area *a, uint32_t state)
{
	uint32_t n = ROUND(state);

	touch_window(r, a, state);
	if (spin)
		cpu_relax();
	else if (n % 16 && (int)(n % nr_readers) != r->idx)
		doze(20000);
}

/* One look at an area; returns whether there was something to do. */
static bool visit(struct reader *r, struct area *a)
{
	uint32_t state = atomic_load(&a->state), n = ROUND(state);
	struct view *v = &r->view[a->idx];
	struct ack *ack = &a->ack[r->idx];

	switch (PHASE(state)) {
	case LIVE:
		if (v->round != n) {
			v->round = n;
			r->slept = false;
			if (go_live(r, a, state))
				atomic_store(&ack->live, n);
		} else if (a->h->flags & F_LAZY) {
			sleep_through(r, a, state);
		} else {
			keep_warm(r, a, state);
		}
		return true;
	case CHANGING:
		if (v->round != n)	/* too late to be warm */
			return false;
		if (a->h->flags & F_LAZY)
			sleep_through(r, a, state);
		else
			keep_warm(r, a, state);
		return true;
	case GONE:
		if (atomic_load(&ack->gone) == n)
			return false;
		if (v->round == n) {
			go_gone(r, a, state);
			r->special += r->slept;
		}
		atomic_store(&ack->gone, n);
		return true;
	default:
		return false;
	}
}

static void *reader_thread(void *arg)
{
	struct reader *r = arg;
	unsigned int spins = 0;

	prctl(PR_SET_TIMERSLACK, 1);
	pin(r->cpu);
	while (!atomic_load(&readers_stop)) {
		bool busy = false;

		for (int i = 0; i < nr_areas; i++)
			busy |= visit(r, &areas[i]);
		if (busy)
			spins = 0;
		else
			relax(&spins);
	}
	return NULL;
}

/* Initiators */

static bool all_acked(struct area *a, bool gone, uint64_t timeout)
{
	uint64_t end = now_ns() + timeout;
	unsigned int spins = 0;

	for (int i = 0; i < nr_readers; i++) {
		atomic_uint *ack = gone ? &a->ack[i].gone : &a->ack[i].live;

		while (atomic_load(ack) != a->round) {
			if (atomic_load(&stop) || now_ns() > end)
				return false;
			relax(&spins);
		}
	}
	return true;
}

static void unmap(struct area *a)
{
	must(!munmap(a->base, a->map_len), "munmap");
	if (a->h->oracle == MOVED)
		must(!munmap(a->base + MOVE_BY, a->map_len), "munmap");
}

static void setup(struct area *a)
{
	a->round++;
	if (a->h->flags & F_REMAP || a->round % ROUNDS_PER_MAP == 1) {
		if (a->base)
			unmap(a);
		/* Keep the files small. */
		if ((a->h->flags & (F_FILE | F_HUGETLB)) == F_FILE) {
			for (int i = 0; i < 2; i++)
				must(!ftruncate(a->fd[i], 0) &&
				     !ftruncate(a->fd[i], FILE_SIZE), "ftruncate");
		}
		if (a->h->flags & F_THP)
			new_huge_pattern(a);
		else if (a->h->flags & F_HUGETLB)
			new_hugetlb_pattern(a);
		else
			new_pattern(a);
		a->h->map(a);
	}
	a->h->fill(a);
}

/* The first one to return says GONE. */
static bool publish_gone(struct area *a)
{
	uint32_t changing = STATE(a->round, CHANGING);

	return atomic_compare_exchange_strong(&a->state, &changing, STATE(a->round, GONE));
}

/* What has to be as it was when this ends, however it does. */
static char online_file[64], hugetlb_file[96];
static atomic_bool is_offline;
static long nr_hugetlb = -1;

static void set_nr_hugetlb(long n)
{
	char word[24];

	snprintf(word, sizeof(word), "%ld", n);
	write_file(hugetlb_file, word);
}

static long get_nr_hugetlb(void)
{
	FILE *f = fopen(hugetlb_file, "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

static void put_back(void)
{
	if (atomic_exchange(&is_offline, false))
		write_file(online_file, "1");
	if (nr_hugetlb >= 0)
		set_nr_hugetlb(nr_hugetlb);
	nr_hugetlb = -1;
}

static void on_end(int sig)
{
	put_back();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void one_round(struct reader *self, struct area *a)
{
	unsigned int spins = 0;
	bool warm;

	setup(a);
	self->view[a->idx].round = a->round;
	atomic_store(&a->state, STATE(a->round, LIVE));
	warm = go_live(self, a, STATE(a->round, LIVE));
	warm &= all_acked(a, false, WARM_NS);
	if (a->h->flags & F_LAZY)
		doze(300000);
	touch_window(self, a, STATE(a->round, LIVE));
	if (a->h->flags & F_HOTPLUG && warm) {
		atomic_store(&is_offline, true);
		a->special += write_file(online_file, "0");
	}

	atomic_store(&a->state, STATE(a->round, CHANGING));
	a->h->change(a);
	if (a->h->flags & F_HOTPLUG)
		put_back();
	publish_gone(a);
	if (a->h->flags & F_LAZY)
		futex(&a->state, FUTEX_WAKE, INT32_MAX);
	/*
	 * What this thread does flushes what the readers may still have. Where CPUs
	 * take turns, they look before it.
	 */
	cpu_relax();
	if (!(a->h->flags & F_ALONE))
		go_gone(self, a, STATE(a->round, GONE));

	if (!all_acked(a, true, STUCK_NS) && !atomic_load(&stop)) {
		errno = ETIMEDOUT;
		must(false, "a reader is stuck");
	}
	if (a->h->flags & F_OVERLAP)
		while (atomic_load(&a->helper_done) != a->round)
			relax(&spins);
	atomic_store(&a->state, STATE(a->round, SETUP));
	if (a->h->finish)
		a->h->finish(a);
	a->ops++;
	a->warm += warm;
}

struct initiator {
	struct area *area;
	int cpu;
	pthread_t thread;
	struct reader self;
};

static void *initiator_thread(void *arg)
{
	struct initiator *in = arg;

	prctl(PR_SET_TIMERSLACK, 1);
	pin(in->cpu);
	while (!atomic_load(&stop)) {
		uint64_t now = now_ns();

		/* A crowded host gets some time more to do the minimum. */
		if (now > deadline && (in->area->warm >= MIN_WARM || now > deadline + GRACE_NS))
			break;
		one_round(&in->self, in->area);
	}
	return NULL;
}

/* Drops the first pages of what the initiator drops, at about the same time. */
static void *helper_thread(void *arg)
{
	struct initiator *in = arg;
	struct area *a = in->area;
	uint32_t done = 0;
	unsigned int spins = 0;

	prctl(PR_SET_TIMERSLACK, 1);
	pin(in->cpu);
	while (!atomic_load(&readers_stop)) {
		uint32_t state = atomic_load(&a->state);

		if (ROUND(state) == done || PHASE(state) < CHANGING) {
			relax(&spins);
			continue;
		}
		spins = 0;
		for (int i = rnd(&in->self.rnd) % 64; i > 0; i--)
			if (!spin)
				cpu_relax();
		must(!madvise(a->base, (a->off[a->nr_gone - 1] + 1UL) * page_size,
			      MADV_DONTNEED), "MADV_DONTNEED");
		a->special += publish_gone(a);
		done = ROUND(state);
		atomic_store(&a->helper_done, done);
	}
	return NULL;
}

static void *noise_thread(void *arg)
{
	struct initiator *in = arg;
	char *p = mmap(NULL, 4 * page_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED, "mmap");
	pin(in->cpu);
	while (!atomic_load(&readers_stop)) {
		for (int i = 0; i < 4; i++)
			p[i * page_size] = 1;
		must(!madvise(p, 4 * page_size, MADV_DONTNEED), "MADV_DONTNEED");
		in->self.special++;
	}
	munmap(p, 4 * page_size);
	return NULL;
}

/* Timers, so that CPUs that take turns do so in the middle of things, too. */
static void *ticker_thread(void *arg)
{
	struct initiator *in = arg;

	prctl(PR_SET_TIMERSLACK, 1);
	pin(in->cpu);
	while (!atomic_load(&readers_stop))
		doze(50000 + rnd(&in->self.rnd) % 500000);
	return NULL;
}

static pid_t start_hog(int cpu)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(cpu);
	for (;;)
		cpu_relax();
}

/* A hunt from begin to end */

static size_t file_size(struct area *a)
{
	return a->h->flags & F_HUGETLB ? NR_HUGETLB * (size_t)huge_size : FILE_SIZE;
}

static void open_files(struct area *a)
{
	/* The size is at the same place as in the flags of mmap(). */
	int flags = a->h->flags & F_HUGETLB ?
		    MFD_HUGETLB | (hugetlb_flags() & MAP_HUGE_MASK << MAP_HUGE_SHIFT) : 0;

	for (int i = 0; i < 2; i++) {
		char *at = ARENA(a->idx) + ALIAS_AT + i * FILE_SIZE;

		a->fd[i] = memfd_create("hunt", flags);
		must(a->fd[i] >= 0 && !ftruncate(a->fd[i], file_size(a)), "memfd_create");
		a->alias[i] = mmap(at, file_size(a), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED_NOREPLACE, a->fd[i], 0);
		must(a->alias[i] == at, "mmap");
	}
}

static void close_files(struct area *a)
{
	for (int i = 0; i < 2; i++) {
		munmap(a->alias[i], file_size(a));
		close(a->fd[i]);
	}
}

static void report_hit(const struct hunter *h)
{
	ksft_print_msg("%s: %s\n", h->name, hit.what);
	ksft_print_msg("%s: %s, CPU %d, area %d, round %u, page %u of %u (first gap %u)\n",
		       h->name, hit.phase == LIVE ? "live" : "gone", hit.cpu, hit.area,
		       hit.round, hit.page, hit.nr, hit.stride);
	if (hit.faulted)
		ksft_print_msg("%s: the access faulted\n", h->name);
	else
		ksft_print_msg("%s: got %#llx, expected %#llx\n", h->name,
			       (unsigned long long)hit.got, (unsigned long long)hit.want);
}

static bool has_swap(void)
{
	FILE *f = fopen("/proc/swaps", "r");
	char line[256];
	bool yes;

	if (!f)
		return false;
	yes = fgets(line, sizeof(line), f) && fgets(line, sizeof(line), f);
	fclose(f);
	return yes;
}

/* Are there enough huge pages, or can there be? */
static bool get_hugetlb(void)
{
	size_t len = HUGETLB_POOL * (size_t)huge_size;
	long before = get_nr_hugetlb();
	void *p;

	if (before < 0)
		return false;
	if (before < HUGETLB_POOL) {
		nr_hugetlb = before;
		set_nr_hugetlb(HUGETLB_POOL);
	}
	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | hugetlb_flags(), -1, 0);
	if (p != MAP_FAILED)
		munmap(p, len);
	return p != MAP_FAILED;
}

/* Can this process have memory on both? */
static bool has_two_nodes(void)
{
	char *p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	bool ok = p != MAP_FAILED;
	void *page = p;

	if (!ok)
		return false;
	*p = 1;
	for (int node = 1; node >= 0; node--) {
		int status = -1;

		ok = ok && !syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE) &&
		     status == node;
	}
	munmap(p, page_size);
	return ok;
}

static bool open_uffd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS,
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	return uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api);
}

static const char *why_skip(const struct hunter *h, char *buf, size_t len)
{
	struct iovec iov = { .iov_base = areas, .iov_len = 0 };

	if (nr_cpus < h->min_cpus) {
		snprintf(buf, len, "needs %d CPUs, has %d", h->min_cpus, nr_cpus);
		return buf;
	}
	if (h->flags & F_THP && !has_thp)
		return "no transparent huge pages";
	if (h->flags & F_HUGETLB && (!huge_size || !get_hugetlb()))
		return "not enough hugetlb pages";
	if (h->flags & F_UFFD && !open_uffd()) {
		close(uffd);
		return "userfaultfd cannot write-protect and send SIGBUS";
	}
	if (h->finish == end_clear_refs && !(pagemap_entry((char *)areas) & PM_SOFT_DIRTY))
		return "soft-dirty pages are not tracked";
	if (h->flags & F_NODES && !has_two_nodes())
		return "needs two NUMA nodes";
	if (h->flags & F_HOTPLUG && access(online_file, W_OK))
		return "no CPU can be taken offline";
	if (h->flags & F_SWAP && !has_swap())
		return "no swap";
	if (h->flags & F_SWAP && pagemap < 0)
		return "no pagemap";
	if (h->flags & F_VECTOR &&
	    syscall(SYS_process_madvise, pidfd, &iov, 1, MADV_DONTNEED, 0))
		return "process_madvise(MADV_DONTNEED) not possible";
	return NULL;
}

/*
 * What a hunter is made for has to happen: once at least, sleep in more than half
 * of the rounds.  The first flag that it has decides.
 */
static const struct {
	unsigned int flag;
	const char *what, *bad;
} wants[] = {
	{ F_LAZY, "slept", "the readers did not sleep" },
	{ F_HOTPLUG, "offline", "no CPU was offline" },
	{ F_MIGRATE, "migrations", "the reader did not migrate" },
	{ F_NOISE, "other flushes", "nothing else was flushed" },
	{ F_OVERLAP, "overtaken", "the callers never overlapped" },
	{ F_SWAP, "pages out", "nothing was paged out" },
	{ F_NODES, "pages migrated", "no page migrated" },
	{ F_COLLAPSE, "collapses", "nothing was collapsed" },
};

static void hunt(const struct hunter *h, uint64_t ns)
{
	struct initiator in[MAX_AREAS] = {}, helper = {}, noise = {}, ticker = {};
	unsigned long ops = 0, warm = 0, special = 0, thp = 0, checks = 0;
	pid_t hogs[MAX_READERS];
	const char *bad = NULL, *skip;
	char buf[64], extra[96] = "";
	int cpu = 0;

	skip = why_skip(h, buf, sizeof(buf));
	if (skip) {
		ksft_test_result_skip("%s: %s\n", h->name, skip);
		put_back();
		return;
	}

	memset(areas, 0, MAX_AREAS * sizeof(*areas));
	memset(readers, 0, sizeof(readers));
	atomic_store(child_go, 0);
	stop = false;
	readers_stop = false;
	hit_taken = false;

	nr_areas = !(h->flags & F_DISJOINT) ? 1 : nr_cpus < 6 ? 2 : 3;
	for (int i = 0; i < nr_areas; i++) {
		areas[i].h = h;
		areas[i].idx = i;
		areas[i].rnd = 0x9e3779b97f4a7c15ULL * (i + 1) ^ now_ns();
		in[i].area = &areas[i];
		in[i].cpu = cpus[cpu++];
		in[i].self.rnd = areas[i].rnd + 1;
		if (h->flags & F_FILE)
			open_files(&areas[i]);
	}
	if (h->flags & F_OVERLAP) {
		helper.area = &areas[0];
		helper.cpu = cpus[cpu++];
		helper.self.rnd = areas[0].rnd + 2;
	}
	if (h->flags & F_NOISE)
		noise.cpu = cpus[cpu++];
	for (nr_readers = 0; cpu < nr_cpus && nr_readers < MAX_READERS; nr_readers++) {
		struct reader *r = &readers[nr_readers];

		r->idx = nr_readers;
		r->cpu = cpus[cpu++];
		r->rnd = areas[0].rnd + 3 + nr_readers;
		if (h->flags & F_HOG)
			hogs[nr_readers] = start_hog(r->cpu);
		r->roams = h->flags & (F_MIGRATE | F_HOTPLUG);
		if (h->flags & (F_MIGRATE | F_HOTPLUG | F_OVERLAP | F_ALONE))
			cpu = nr_cpus;	/* one reader, and no crowd */
	}

	ticker.cpu = in[0].cpu;
	ticker.self.rnd = areas[0].rnd + 3 + nr_readers;

	started = now_ns();
	deadline = started + ns;
	for (int i = 0; i < nr_readers; i++)
		must(!pthread_create(&readers[i].thread, NULL, reader_thread, &readers[i]),
		     "pthread_create");
	if (h->flags & F_OVERLAP)
		must(!pthread_create(&helper.thread, NULL, helper_thread, &helper),
		     "pthread_create");
	if (h->flags & F_NOISE)
		must(!pthread_create(&noise.thread, NULL, noise_thread, &noise), "pthread_create");
	if (spin)
		must(!pthread_create(&ticker.thread, NULL, ticker_thread, &ticker),
		     "pthread_create");
	for (int i = 0; i < nr_areas; i++)
		must(!pthread_create(&in[i].thread, NULL, initiator_thread, &in[i]),
		     "pthread_create");

	for (int i = 0; i < nr_areas; i++)
		pthread_join(in[i].thread, NULL);
	atomic_store(&readers_stop, true);
	for (int i = 0; i < nr_areas; i++)
		futex(&areas[i].state, FUTEX_WAKE, INT32_MAX);
	if (h->flags & F_OVERLAP)
		pthread_join(helper.thread, NULL);
	if (h->flags & F_NOISE)
		pthread_join(noise.thread, NULL);
	if (spin)
		pthread_join(ticker.thread, NULL);
	for (int i = 0; i < nr_readers; i++) {
		pthread_join(readers[i].thread, NULL);
		checks += readers[i].checks;
		special += readers[i].special;
		if (h->flags & F_HOG) {
			kill(hogs[i], SIGKILL);
			waitpid(hogs[i], NULL, 0);
		}
	}
	for (int i = 0; i < nr_areas; i++) {
		struct area *a = &areas[i];

		ops += a->ops;
		warm += a->warm;
		special += a->special;
		thp += a->thp_seen;
		checks += in[i].self.checks;
		if (a->base)
			unmap(a);
		if (h->flags & F_FILE)
			close_files(a);
	}

	special += noise.self.special;
	for (size_t i = 0; i < ARRAY_SIZE(wants) && !*extra; i++) {
		if (!(h->flags & wants[i].flag))
			continue;
		snprintf(extra, sizeof(extra), ", %s: %lu", wants[i].what, special);
		if (special <= (wants[i].flag == F_LAZY ? warm / 2 : 0))
			bad = wants[i].bad;
	}
	if (h->flags & F_THP && !(h->flags & F_COLLAPSE) && !thp)
		bad = "there was no huge page";
	if (warm < MIN_WARM || warm < ops / 2)
		bad = "too few rounds with warm readers";

	if (atomic_load(&hit_taken)) {
		report_hit(h);
		ksft_test_result_fail("%s: stale hit after %lu operations, %llu ms\n", h->name, ops,
				      (unsigned long long)hit.ns / 1000000);
	} else if (bad) {
		ksft_test_result_fail("%s: did not test anything: %s (%lu rounds, %lu warm%s)\n",
				      h->name, bad, ops, warm, extra);
	} else {
		ksft_test_result_pass("%s: %lu operations, %lu warm, %lu checks by %d readers%s\n",
				      h->name, ops, warm, checks, nr_readers, extra);
	}
	if (h->flags & F_UFFD)
		close(uffd);
	put_back();
}

static const struct hunter hunters[] = {
	{ "dontneed", map_anon, fill_anon, do_dontneed, NULL, ZERO, 0, 1 },
	{ "dontneed-thp", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_THP | F_REMAP, 1 },
	{ "dontneed-vector", map_anon, fill_anon, do_vector, NULL, ZERO, F_VECTOR, 1 },
	{ "munmap", map_anon, fill_anon, do_munmap, NULL, FAULT, F_REMAP, 1 },
	{ "munmap-thp", map_anon, fill_anon, do_munmap, NULL, FAULT, F_REMAP | F_THP, 1 },
	{ "hugetlb-dontneed", map_private, fill_cow, do_dontneed, NULL, FRESH,
	  F_HUGETLB | F_FILE, 1 },
	{ "hugetlb-munmap", map_hugetlb, fill_anon, do_munmap, NULL, FAULT,
	  F_HUGETLB | F_REMAP, 1 },
	{ "hugetlb-readonly", map_hugetlb, fill_protected, do_readonly, end_readonly, READONLY,
	  F_HUGETLB | F_WRITE, 1 },
	{ "overmap", map_shared, fill_files, do_overmap, NULL, FRESH, F_FILE, 1 },
	{ "mprotect-readonly", map_anon, fill_protected, do_readonly, end_readonly, READONLY,
	  F_WRITE, 1 },
	{ "mprotect-thp", map_anon, fill_protected, do_readonly, end_readonly, READONLY,
	  F_WRITE | F_THP | F_REMAP, 1 },
	{ "mprotect-none", map_anon, fill_protected, do_none, NULL, FAULT, 0, 1 },
	{ "uffd-wp", map_watched, fill_watched, do_uffd_protect, end_readonly, READONLY,
	  F_WRITE | F_UFFD, 1 },
	{ "soft-dirty", map_anon, fill_anon, do_clear_refs, end_clear_refs, TRACKED,
	  F_WRITE | F_ALONE, 2 },
	{ "mremap", map_anon, fill_anon, do_mremap, NULL, MOVED, F_REMAP, 1 },
	{ "fork", map_anon, fill_anon, do_fork, end_fork, COPIED, F_WRITE, 1 },
	{ "break-cow", map_private, fill_uncow, do_break_cow, NULL, FRESH, F_FILE, 1 },
	{ "pageout", map_anon, fill_anon, do_pageout, NULL, FRESH, F_SWAP, 1 },
	{ "pageout-thp", map_anon, fill_anon, do_pageout, NULL, FRESH,
	  F_SWAP | F_THP | F_REMAP, 1 },
	{ "free", map_anon, fill_anon, do_free, NULL, FRESH, F_SWAP, 1 },
	{ "free-written", map_anon, fill_anon, do_free_only, end_free, TRACKED,
	  F_WRITE | F_ALONE | F_SWAP, 2 },
	{ "collapse", map_anon, fill_anon, do_collapse, NULL, FRESH,
	  F_THP | F_COLLAPSE | F_REMAP, 1 },
	{ "migrate", map_anon, fill_anon, do_migrate, NULL, FRESH, F_NODES, 1 },
	{ "dontneed-lazy", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_LAZY, 2 },
	{ "munmap-lazy", map_anon, fill_anon, do_munmap, NULL, FAULT, F_REMAP | F_LAZY, 2 },
	{ "dontneed-switched", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_LAZY | F_HOG, 2 },
	{ "dontneed-migrate", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_MIGRATE, 3 },
	{ "dontneed-hotplug", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_HOTPLUG, 3 },
	{ "dontneed-disjoint", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_DISJOINT, 3 },
	{ "munmap-disjoint", map_anon, fill_anon, do_munmap, NULL, FAULT,
	  F_REMAP | F_DISJOINT, 3 },
	{ "dontneed-noise", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_NOISE, 3 },
	{ "mprotect-noise", map_anon, fill_protected, do_readonly, end_readonly, READONLY,
	  F_WRITE | F_NOISE, 3 },
	{ "dontneed-overlap", map_anon, fill_anon, do_dontneed, NULL, ZERO, F_OVERLAP, 3 },
};

static bool wanted(const struct hunter *h, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], h->name))
			return true;
	return argc < 2;
}

static void read_huge_size(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "r");
	char word[64] = "";

	if (!f)
		return;
	if (fscanf(f, "%ld", &huge_size) != 1)
		huge_size = 0;
	fclose(f);
	f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	has_thp = huge_size && !(f && fgets(word, sizeof(word), f) && strstr(word, "[never]"));
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	const char *seconds = getenv("HUNT_SECONDS"), *spins = getenv("HUNT_SPIN");
	uint64_t ns = SHORT_MS * 1000000ULL;
	unsigned int plan = 0;
	cpu_set_t set;

	for (int i = 1; i < argc; i++) {
		size_t k;

		for (k = 0; k < ARRAY_SIZE(hunters); k++)
			if (!strcmp(argv[i], hunters[k].name))
				break;
		if (k == ARRAY_SIZE(hunters)) {
			fprintf(stderr, "hunt: no hunter is called %s; see the table in hunt.c\n",
				argv[i]);
			return KSFT_FAIL;
		}
	}
	if (seconds) {
		char *end;
		long n = strtol(seconds, &end, 10);

		if (*end || n < 1 || n > 1000000) {
			fprintf(stderr, "hunt: HUNT_SECONDS=%s is not a number of seconds; %s\n",
				seconds, "use 1 or more");
			return KSFT_FAIL;
		}
		ns = n * 1000000000ULL;
	}

	if (spins && strcmp(spins, "0") && strcmp(spins, "1")) {
		fprintf(stderr, "hunt: HUNT_SPIN=%s is not 0 or 1\n", spins);
		return KSFT_FAIL;
	}
	spin = spins && *spins == '1';

	ksft_print_header();
	for (size_t k = 0; k < ARRAY_SIZE(hunters); k++)
		plan += wanted(&hunters[k], argc, argv);
	ksft_set_plan(plan);

	page_size = sysconf(_SC_PAGESIZE);
	read_huge_size();
	must(!sched_getaffinity(0, sizeof(set), &set), "sched_getaffinity");
	for (int i = 0; i < CPU_SETSIZE && nr_cpus < MAX_CPUS; i++)
		if (CPU_ISSET(i, &set))
			cpus[nr_cpus++] = i;
	pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	snprintf(online_file, sizeof(online_file), "/sys/devices/system/cpu/cpu%d/online",
		 cpus[nr_cpus - 1]);
	snprintf(hugetlb_file, sizeof(hugetlb_file),
		 "/sys/kernel/mm/hugepages/hugepages-%ldkB/nr_hugepages", huge_size / 1024);
	atexit(put_back);
	areas = aligned_alloc(64, MAX_AREAS * sizeof(*areas));
	child_go = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(areas && child_go != MAP_FAILED, "memory");
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	signal(SIGTERM, on_end);
	signal(SIGINT, on_end);
	ksft_print_msg("%d CPUs, %llu ms per hunter\n", nr_cpus, (unsigned long long)ns / 1000000);

	for (size_t k = 0; k < ARRAY_SIZE(hunters); k++)
		if (wanted(&hunters[k], argc, argv))
			hunt(&hunters[k], ns);
	ksft_finished();
}
