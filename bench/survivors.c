// SPDX-License-Identifier: GPL-2.0
/*
 * survivors - how much of a bystander's hot set is still in its TLB after another
 * thread has unmapped a few other pages.
 *
 *   survivors survivors-HOT-PAGES ROUNDS
 *   survivors thrash-HOT-PAGES[-evict] ROUNDS
 *   survivors selftest			the verification must notice what is wrong
 *
 * The bystander (CPU 1) touches its HOT pages. The initiator (CPU 0) clears their
 * Accessed bits through /sys/kernel/mm/page_idle/bitmap, which walks the rmap and
 * on x86 does not flush (ptep_test_and_clear_young()). It drops PAGES other pages,
 * SPREAD apart, by one madvise(). The bystander touches its set once more. A page
 * whose Accessed bit is set now was not in the TLB any more: the idle flag is gone.
 *
 * Three arms in each round: "control" drops nothing, "full" drops more pages than
 * any ceiling allows to be flushed one by one, and the one that is asked for.
 * Without a control near 100 and a full near 0 the number in between says nothing.
 *
 * thrash: the bystander alternates its hot set with a walk over memory that adds 1 to
 * each line of a buffer. The pages are dropped while it walks, once in each walk. The
 * next pass over the hot set is timed, and the cycle of both. The buffer has 1024
 * pages: more than a second-level cache, and a TLB of 1536 entries still holds 256
 * others. "evict": 8192 pages that share the hot set's slots of any direct-mapped TLB
 * of up to 16384 entries (TCG's grows with its use) and are more than other TLBs
 * hold. The walk itself evicts the hot set then.
 */
#define _GNU_SOURCE
#include "common.h"
#include <stdint.h>

#define SPREAD	64UL
#define DENSE	128UL
#define GROW	12		/* TCG's TLB doubles at a full flush, when it was used */
#define MAX_HOT	4096
#define MAX_ROUNDS 1000
#define WALK	1024UL		/* pages that the thrasher walks */
#define EVICT	8192UL		/* the same with "evict" */
#define ALIAS	16384UL		/* distance of pages with the same slot */
#define LINE	64UL

enum arm { CONTROL, FULL, ASKED, ARMS };
enum task { TOUCH, SETTLE, CYCLE };

static unsigned long hot, pages, walks;
static int thrash, evict;
static char *set, *victim, *dense;
static atomic_uint asked, done;		/* tasks of the bystander */
static enum task task;			/* written before asked */
static enum arm arm_now;
static unsigned long warm_ns, hot_ns, cycle_ns;	/* written before done */
static atomic_uint walking, dropped;	/* cycles in which the walk began, in which the pages went */
static atomic_ulong bad;
static int lose_op;
static uint64_t pfn[MAX_HOT];

/* Another line of each page, or all would share a few cache sets. */
static unsigned int *hot_word(unsigned long i)
{
	return (unsigned int *)(set + i * PG + i * LINE % PG);
}

static unsigned long touch_hot(void)
{
	unsigned long sum = 0;

	for (unsigned long i = 0; i < hot; i++)
		sum += *(volatile unsigned int *)hot_word(i);
	return sum;
}

/* Page i of the thrasher's buffer, which lies behind the hot set. */
static char *walk_page(unsigned long i)
{
	return set + (evict ? (1 + i / hot) * ALIAS + i % hot : hot + i) * PG;
}

static unsigned long walk_pages(void)
{
	return !thrash ? 0 : evict ? EVICT / hot * hot : WALK;
}

static void walk(void)
{
	for (unsigned long i = 0; i < walk_pages(); i++)
		for (char *p = walk_page(i), *end = p + PG; p < end; p += LINE)
			++*(volatile unsigned int *)p;
	walks++;
}

/* The arms that drop nothing of it must find it unchanged. */
static void look_at_victim(int value)
{
	for (unsigned long i = 0; i < pages; i++)
		if (*(volatile char *)(victim + i * SPREAD * PG) != value)
			atomic_fetch_add(&bad, 1);
}

static void cycle(void)
{
	unsigned int n = atomic_load(&walking) + 1;
	unsigned long t[4], sum[2];

	t[0] = now();
	atomic_store(&walking, n);
	walk();
	while (atomic_load(&dropped) != n)
		;
	t[1] = now();
	sum[0] = touch_hot();
	t[2] = now();
	sum[1] = touch_hot();
	t[3] = now();
	for (int i = 0; i < 2; i++)
		if (sum[i] != hot * (hot + 1) / 2)
			atomic_fetch_add(&bad, 1);
	look_at_victim(arm_now != ASKED);
	cycle_ns = t[2] - t[0];
	hot_ns = t[2] - t[1];
	warm_ns = t[3] - t[2];
}

static void *bystander(void *arg)
{
	unsigned int seen = 0;
	char *dummy;

	(void)arg;
	pin(1);
	/* Not at the start of a power of two: the first sets hold stacks and text. */
	set = map_pages(evict ? (1 + EVICT / hot) * ALIAS : hot + walk_pages());
	for (unsigned long i = 0; i < hot; i++)
		*hot_word(i) = i + 1;
	walk();
	/* page_idle sees pages on the LRU only: empty this CPU's batch. */
	dummy = map_pages(1);
	*dummy = 1;
	if (madvise(dummy, PG, MADV_COLD))
		die("survivors: madvise(MADV_COLD): %s", strerror(errno));
	for (;;) {
		atomic_store(&done, seen);
		while (atomic_load_explicit(&asked, memory_order_acquire) == seen)
			;
		seen++;
		if (task == SETTLE) {
			look_at_victim(1);
			walk();
		}
		if (task == CYCLE)
			cycle();
		else
			touch_hot();
	}
	return NULL;
}

static unsigned int begin(enum task what)
{
	task = what;
	return atomic_fetch_add(&asked, 1) + 1;
}

static void touch(enum task what)
{
	unsigned int want = begin(what);

	while (atomic_load(&done) != want)
		;
}

static void idle_io(int fd, uint64_t n, uint64_t *word, int write)
{
	ssize_t got = write ? pwrite(fd, word, 8, n / 64 * 8) : pread(fd, word, 8, n / 64 * 8);

	if (got != 8)
		die("survivors: page_idle/bitmap: %s", strerror(errno));
}

static void read_pfns(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);

	for (unsigned long i = 0; i < hot; i++) {
		if (pread(fd, &pfn[i], 8, (uintptr_t)(set + i * PG) / PG * 8) != 8 || !(pfn[i] >> 63))
			die("survivors: no page in /proc/self/pagemap");
		pfn[i] &= (1ULL << 55) - 1;
		if (!pfn[i])
			die("survivors: page numbers are hidden; run as root");
	}
	close(fd);
}

static void drop(enum arm arm)
{
	if (arm == FULL)
		dontneed(dense, DENSE);
	else if (arm == ASKED && !lose_op)
		dontneed(victim, (pages - 1) * SPREAD + 1);
}

/* Per cent of the hot set whose Accessed bits stayed clear. */
static double survive(int fd, enum arm arm)
{
	unsigned long left = 0;

	for (unsigned long i = 0; i < pages; i++)
		*(volatile char *)(victim + i * SPREAD * PG) = 1;
	memset(dense, 1, DENSE * PG);
	arm_now = arm;
	touch(thrash ? SETTLE : TOUCH);
	touch(TOUCH);
	for (unsigned long i = 0; i < hot && fd >= 0; i++) {
		uint64_t word = 1ULL << pfn[i] % 64;

		idle_io(fd, pfn[i], &word, 1);
	}
	if (thrash) {
		unsigned int n = atomic_load(&walking) + 1, want = begin(CYCLE);

		while (atomic_load(&walking) != n)
			;
		drop(arm);
		atomic_store(&dropped, n);
		while (atomic_load(&done) != want)
			;
	} else {
		drop(arm);
		touch(TOUCH);
	}
	for (unsigned long i = 0; i < hot && fd >= 0; i++) {
		uint64_t word;

		idle_io(fd, pfn[i], &word, 0);
		left += word >> pfn[i] % 64 & 1;
	}
	look_at_victim(arm != ASKED);
	return 100.0 * left / hot;
}

/* Each page of the hot set, and what the walks have added up to. */
static void must_verify(const char *name)
{
	for (unsigned long i = 0; i < hot; i++)
		if (*hot_word(i) != i + 1)
			die("verification failed: %s: page %lu of the hot set has changed", name, i);
	for (unsigned long i = 0; i < walk_pages(); i++)
		for (unsigned long at = 0; at < PG; at += LINE)
			if (*(unsigned int *)(walk_page(i) + at) != walks)
				die("verification failed: %s: page %lu of the walk lost a write", name, i);
	if (atomic_load(&bad))
		die("verification failed: %s: %lu times a dropped page was still seen, or a hot one changed",
		    name, atomic_load(&bad));
}

static void parse(const char *name)
{
	int end = 0;

	if (sscanf(name, "survivors-%lu-%lu%n", &hot, &pages, &end) != 2) {
		thrash = sscanf(name, "thrash-%lu-%lu%n", &hot, &pages, &end) == 2;
		evict = thrash && !strcmp(name + end, "-evict");
		end += evict * strlen("-evict");
	}
	if (!end || name[end] || !hot || hot > MAX_HOT || !pages)
		die("no workload '%s'; expected survivors-HOT-PAGES or thrash-HOT-PAGES[-evict]", name);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("%s needs two CPUs", name);
}

static void setup(void)
{
	pthread_t thread;

	pin(0);
	victim = map_pages(pages * SPREAD);
	dense = map_pages(DENSE);
	atomic_store(&done, -1);
	if (pthread_create(&thread, NULL, bystander, NULL))
		die("cannot start the bystander");
	while (atomic_load(&done))
		;
}

/* A page that was not dropped, a hot page that has changed: each must be noticed. */
static int selftest(void)
{
	int failed = 0;

	parse("thrash-64-5");
	setup();
	for (int fault = 0; fault < 3; fault++) {
		int noticed;

		atomic_store(&bad, 0);
		lose_op = fault == 1;
		*hot_word(7) += fault == 2;
		survive(-1, ASKED);
		noticed = atomic_load(&bad) != 0;
		printf("selftest workload=thrash-64-5 fault=%d noticed=%d\n", fault, noticed);
		failed |= noticed != (fault > 0);
	}
	return failed;
}

int main(int argc, char **argv)
{
	static double got[ARMS][MAX_ROUNDS], warm[ARMS * MAX_ROUNDS];
	static double hot_took[ARMS][MAX_ROUNDS], cycle_took[ARMS][MAX_ROUNDS];
	unsigned long rounds = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	int fd;

	no_huge_pages();
	if (argc == 2 && !strcmp(argv[1], "selftest"))
		return selftest();
	if (argc != 3 || !rounds || rounds > MAX_ROUNDS)
		die("usage: survivors WORKLOAD ROUNDS, as in survivors-256-5 20 | selftest");
	parse(argv[1]);
	fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	if (fd < 0)
		die("survivors: no page_idle/bitmap; the kernel needs CONFIG_IDLE_PAGE_TRACKING");
	setup();
	read_pfns();
	for (int i = 0; i < GROW; i++)
		survive(fd, FULL);
	for (unsigned long r = 0; r < rounds; r++)
		for (int arm = 0; arm < ARMS; arm++) {
			got[arm][r] = survive(fd, arm);
			hot_took[arm][r] = hot_ns;
			cycle_took[arm][r] = cycle_ns;
			warm[r * ARMS + arm] = warm_ns;
		}
	must_verify(argv[1]);
	printf("survive workload=%s rounds=%lu control_pct=%.2f full_pct=%.2f survive_pct=%.2f",
	       argv[1], rounds, median(got[CONTROL], rounds), median(got[FULL], rounds),
	       median(got[ASKED], rounds));
	if (thrash)
		printf(" warm_hot_ns=%.0f calm_hot_ns=%.0f full_hot_ns=%.0f hot_ns=%.0f"
		       " calm_cycle_ns=%.0f full_cycle_ns=%.0f cycle_ns=%.0f",
		       median(warm, rounds * ARMS), median(hot_took[CONTROL], rounds),
		       median(hot_took[FULL], rounds), median(hot_took[ASKED], rounds),
		       median(cycle_took[CONTROL], rounds), median(cycle_took[FULL], rounds),
		       median(cycle_took[ASKED], rounds));
	printf(" verified=%lu\n", rounds);
	return 0;
}
