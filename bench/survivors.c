// SPDX-License-Identifier: GPL-2.0
/*
 * survivors - how much of a bystander's hot set is still in its TLB after another
 * thread has unmapped a few other pages.
 *
 *   survivors survivors-HOT-PAGES ROUNDS
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
 */
#define _GNU_SOURCE
#include "common.h"
#include <stdint.h>

#define SPREAD	64UL
#define DENSE	128UL
#define GROW	12		/* TCG's TLB doubles at a full flush, when it was used */
#define MAX_HOT	4096
#define MAX_ROUNDS 1000

static unsigned long hot, pages;
static char *set, *victim, *dense;
static atomic_uint asked, done;		/* touches of the hot set */
static uint64_t pfn[MAX_HOT];

static void *bystander(void *arg)
{
	unsigned int seen = 0;
	char *dummy;

	(void)arg;
	pin(1);
	/* Not at the start of a power of two: the first sets hold stacks and text. */
	set = map_pages(hot);
	memset(set, 1, hot * PG);
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
		for (unsigned long i = 0; i < hot; i++)
			(void)*(volatile char *)(set + i * PG + i * 64 % PG);
	}
	return NULL;
}

static void touch(void)
{
	unsigned int want = atomic_fetch_add(&asked, 1) + 1;

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

enum arm { CONTROL, FULL, ASKED, ARMS };

/* Per cent of the hot set whose Accessed bits stayed clear. */
static double survive(int fd, enum arm arm)
{
	unsigned long left = 0;

	for (unsigned long i = 0; i < pages; i++)
		*(volatile char *)(victim + i * SPREAD * PG) = 1;
	memset(dense, 1, DENSE * PG);
	touch();
	touch();
	for (unsigned long i = 0; i < hot; i++) {
		uint64_t word = 1ULL << pfn[i] % 64;

		idle_io(fd, pfn[i], &word, 1);
	}
	if (arm == FULL)
		dontneed(dense, DENSE);
	else if (arm == ASKED)
		dontneed(victim, (pages - 1) * SPREAD + 1);
	touch();
	for (unsigned long i = 0; i < hot; i++) {
		uint64_t word;

		idle_io(fd, pfn[i], &word, 0);
		left += word >> pfn[i] % 64 & 1;
	}
	if (arm == ASKED)
		for (unsigned long i = 0; i < pages; i++)
			if (*(volatile char *)(victim + i * SPREAD * PG))
				die("verification failed: survivors: a page is still there");
	return 100.0 * left / hot;
}

int main(int argc, char **argv)
{
	static double got[ARMS][MAX_ROUNDS];
	unsigned long rounds = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	pthread_t thread;
	int fd, end = 0;

	if (argc != 3 || sscanf(argv[1], "survivors-%lu-%lu%n", &hot, &pages, &end) != 2 ||
	    argv[1][end] || !hot || hot > MAX_HOT || !pages || !rounds || rounds > MAX_ROUNDS)
		die("usage: survivors survivors-HOT-PAGES ROUNDS, as in survivors-256-5 20");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("%s needs two CPUs", argv[1]);
	no_huge_pages();
	fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	if (fd < 0)
		die("survivors: no page_idle/bitmap; the kernel needs CONFIG_IDLE_PAGE_TRACKING");
	pin(0);
	victim = map_pages(pages * SPREAD);
	dense = map_pages(DENSE);
	atomic_store(&done, -1);
	if (pthread_create(&thread, NULL, bystander, NULL))
		die("cannot start the bystander");
	while (atomic_load(&done))
		;
	read_pfns();
	for (int i = 0; i < GROW; i++)
		survive(fd, FULL);
	for (unsigned long r = 0; r < rounds; r++)
		for (int arm = 0; arm < ARMS; arm++)
			got[arm][r] = survive(fd, arm);
	printf("survive workload=%s rounds=%lu control_pct=%.2f full_pct=%.2f survive_pct=%.2f\n",
	       argv[1], rounds, median(got[CONTROL], rounds), median(got[FULL], rounds),
	       median(got[ASKED], rounds));
	return 0;
}
