// SPDX-License-Identifier: GPL-2.0
/*
 * overlap - two threads drop the same page at the same time; may anyone still
 * read it when the one that found nothing to drop has returned?
 *
 *   overlap overlap-1x1 ROUNDS
 *
 * The first caller's range is the page and, in the next page table, a tail that
 * keeps it busy between clearing the page's entry and its flush. The second one's
 * range is the page alone. When it returns, it looks (CPU 1) and so does a reader
 * (CPU 2, if there is one) that had the translation in its TLB.
 *
 * Prints the number of rounds, of those in which the second call returned while
 * the first one ran, and of stale reads. Exit status 1 when there were any.
 */
#define _GNU_SOURCE
#include "common.h"

#define TAIL	512UL
#define ALIGN	(512UL * PG)

static char *spot;		/* the last page below a 2M boundary; the tail follows */
static atomic_uint armed, warm, first_done, second_done, judged, run;
static atomic_ulong overlapped, stale_second, stale_third;
static atomic_int with_reader;

static unsigned int next_round(atomic_uint *word, unsigned int seen)
{
	unsigned int now;

	while ((now = atomic_load_explicit(word, memory_order_acquire)) == seen)
		;
	return now;
}

/* A delay in turns of an empty loop; how long a turn takes does not matter. */
static void wait_turns(unsigned int n)
{
	for (volatile unsigned int i = 0; i < n; i++)
		;
}

static void *second(void *arg)
{
	unsigned int round = 0, rnd = 1;

	(void)arg;
	pin(1);
	for (;;) {
		round = next_round(&armed, round);
		if (!round)
			return NULL;
		if (!*(volatile char *)spot)
			die("overlap: the page is not there before the operation");
		atomic_fetch_add(&warm, 1);
		while (atomic_load(&run) != round)
			;
		rnd = rnd * 1103515245 + 12345;
		wait_turns((rnd >> 16) % 2000);
		dontneed(spot, 1);
		if (atomic_load(&first_done) != round)
			atomic_fetch_add(&overlapped, 1);
		atomic_store(&second_done, round);
		if (*(volatile char *)spot)
			atomic_fetch_add(&stale_second, 1);
		atomic_fetch_add(&judged, 1);
	}
}

static void *third(void *arg)
{
	unsigned int round = 0;
	unsigned long bad;

	(void)arg;
	pin(2);
	for (;;) {
		round = next_round(&armed, round);
		if (!round)
			return NULL;
		if (!*(volatile char *)spot)
			die("overlap: the page is not there before the operation");
		atomic_fetch_add(&warm, 1);
		/* It must not fault here: that would drop the entry. So it does not look. */
		while (atomic_load(&second_done) != round)
			;
		bad = *(volatile char *)spot != 0;
		atomic_fetch_add(&stale_third, bad);
		atomic_fetch_add(&judged, 1);
	}
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	unsigned int others;
	pthread_t t[2];
	char *p;

	if (argc != 3 || strcmp(argv[1], "overlap-1x1") || !rounds)
		die("usage: overlap overlap-1x1 ROUNDS");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("%s needs two CPUs", argv[1]);
	no_huge_pages();
	pin(0);
	others = sysconf(_SC_NPROCESSORS_ONLN) > 2 ? 2 : 1;
	p = map_pages(4 * 512);
	p = (char *)(((unsigned long)p + ALIGN - 1) & -ALIGN) + ALIGN;
	spot = p - PG;
	atomic_store(&with_reader, others == 2);
	if (pthread_create(&t[0], NULL, second, NULL) ||
	    (others == 2 && pthread_create(&t[1], NULL, third, NULL)))
		die("cannot start the other threads");
	for (unsigned int r = 1; r <= rounds; r++) {
		*(volatile char *)spot = 1;
		/* Zero pages: quick to map, and as slow as others to unmap. */
		for (unsigned long i = 1; i <= TAIL; i += 4)
			(void)*(volatile char *)(spot + i * PG);
		atomic_store(&warm, 0);
		atomic_store(&judged, 0);
		atomic_store_explicit(&armed, r, memory_order_release);
		while (atomic_load(&warm) != others)
			;
		atomic_store(&run, r);
		dontneed(spot, 1 + TAIL);
		atomic_store(&first_done, r);
		while (atomic_load(&judged) != others)
			;
		/* The others have mapped the zero page by looking. */
		dontneed(spot, 1);
	}
	atomic_store(&armed, 0);
	for (unsigned int i = 0; i < others; i++)
		pthread_join(t[i], NULL);
	printf("overlap workload=%s rounds=%lu readers=%u overlapped=%lu stale=%lu\n", argv[1],
	       rounds, others, atomic_load(&overlapped),
	       atomic_load(&stale_second) + atomic_load(&stale_third));
	if (atomic_load(&overlapped) < rounds / 100)
		die("overlap: the callers overlapped in %lu of %lu rounds only",
		    atomic_load(&overlapped), rounds);
	return atomic_load(&stale_second) || atomic_load(&stale_third);
}
