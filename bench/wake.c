// SPDX-License-Identifier: GPL-2.0
/*
 * wake - a thread sleeps on CPU 1, which stays in lazy TLB mode with the
 * process' address space. Another one, on CPU 0, drops n pages one by one and
 * wakes it; it touches its hot set.
 *
 *   wake time wake-Nx1 MS [HOT]		how long the hot set takes after the wake-up
 *   wake count wake-Nx1 OPS CTL ACK	as many wake-ups between perf's enable and disable
 *   wake selftest			the verification must notice a lost operation
 *
 * Verified in each round: the sleeper has read the n pages before it slept, and
 * reads zeroes in them when it has touched its hot set.
 */
#define _GNU_SOURCE
#include "common.h"
#include <linux/futex.h>
#include <sys/syscall.h>

#define SPACE	2UL		/* distance of the dropped pages, in pages */
#define GROW	12		/* TCG's TLB doubles at a full flush, when it was used */
#define MAX_ROUNDS 65536

static unsigned long pages, hot = 512;
static char *victim, *set, *dense;
static int lose_op;
static atomic_uint go;		/* the futex: a new value is a wake-up */
static atomic_uint done, armed;
static atomic_ulong took, bad;
static atomic_int tid, stop;

static void touch(void)
{
	/* Another line of each page, or all would share a few cache sets. */
	for (unsigned long i = 0; i < hot; i++)
		(void)*(volatile char *)(set + i * PG + i * 64 % PG);
}

static void *sleeper(void *arg)
{
	unsigned int seen = 0;
	unsigned long t, n;

	(void)arg;
	pin(1);
	set = map_pages(hot);
	memset(set, 1, hot * PG);
	atomic_store(&tid, syscall(SYS_gettid));
	while (!atomic_load(&stop)) {
		while (atomic_load(&armed) != seen + 1)
			;
		for (unsigned long i = 0; i < pages; i++)
			if (*(volatile char *)(victim + i * SPACE * PG) != 1)
				die("wake: a page is not there before the operation");
		/* Twice: what is measured is a set that the TLB holds. */
		touch();
		touch();
		while (atomic_load(&go) == seen)
			syscall(SYS_futex, &go, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
		t = now();
		touch();
		t = now() - t;
		for (n = 0, seen++; n < pages; n++)
			if (*(volatile char *)(victim + n * SPACE * PG))
				atomic_fetch_add(&bad, 1);
		atomic_store(&took, t);
		atomic_store(&done, seen);
	}
	return NULL;
}

static void wait_asleep(void)
{
	char path[64], line[512], *p;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&tid));
	do {
		fd = open(path, O_RDONLY);
		n = read(fd, line, sizeof(line) - 1);
		close(fd);
		if (n <= 0)
			die("wake: cannot read %s", path);
		line[n] = 0;
		p = strrchr(line, ')');
	} while (!p || p[2] != 'S');
	/* The state is set before the CPU switches to idle. */
	for (unsigned long t = now(); now() - t < 100000; )
		;
}

static void arm(void)
{
	for (unsigned long i = 0; i < pages; i++)
		*(volatile char *)(victim + i * SPACE * PG) = 1;
	atomic_fetch_add(&armed, 1);
	wait_asleep();
}

static void fire(void)
{
	unsigned int want = atomic_load(&go) + 1;

	for (unsigned long i = 0; i < pages && !lose_op; i++)
		dontneed(victim + i * SPACE * PG, 1);
	atomic_store(&go, want);
	syscall(SYS_futex, &go, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	while (atomic_load(&done) != want)
		;
}

static pthread_t setup(const char *name)
{
	pthread_t thread;
	int end = 0;

	if (sscanf(name, "wake-%lux1%n", &pages, &end) != 1 || name[end] || pages > 64)
		die("no workload '%s'; expected wake-PAGESx1, as in wake-4x1", name);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("%s needs two CPUs", name);
	pin(0);
	victim = map_pages(64 * SPACE);
	dense = map_pages(128);
	atomic_store(&tid, 0);
	atomic_store(&stop, 0);
	atomic_store(&go, 0);
	atomic_store(&done, 0);
	atomic_store(&armed, 0);
	if (pthread_create(&thread, NULL, sleeper, NULL))
		die("cannot start the sleeper");
	while (!atomic_load(&tid))
		usleep(1000);
	/* More pages than any ceiling, while it sleeps: a full flush when it wakes. */
	for (int i = 0; i < GROW; i++) {
		arm();
		memset(dense, 1, 128 * PG);
		dontneed(dense, 128);
		fire();
	}
	return thread;
}

static void finish(pthread_t thread)
{
	arm();
	atomic_store(&stop, 1);
	fire();
	pthread_join(thread, NULL);
}

static void must_verify(const char *name)
{
	if (atomic_load(&bad))
		die("verification failed: %s: %lu pages were still seen after the operation",
		    name, atomic_load(&bad));
}

static int selftest(void)
{
	pthread_t thread = setup("wake-4x1");
	int failed = 0;

	for (lose_op = 0; lose_op < 2; lose_op++) {
		int noticed;

		atomic_store(&bad, 0);
		for (int i = 0; i < 3; i++) {
			arm();
			fire();
		}
		noticed = atomic_load(&bad) != 0;
		printf("selftest workload=wake-4x1 lost=%d noticed=%d\n", lose_op, noticed);
		failed |= noticed != lose_op;
	}
	lose_op = 0;
	finish(thread);
	return failed;
}

int main(int argc, char **argv)
{
	static double v[MAX_ROUNDS];
	unsigned long ops = 0, delta[FLUSH_KEYS] = { 0 }, end;
	pthread_t thread;

	no_huge_pages();
	if (argc == 2 && !strcmp(argv[1], "selftest"))
		return selftest();
	if (argc >= 4 && !strcmp(argv[1], "time")) {
		if (argc > 4)
			hot = strtoul(argv[4], NULL, 0);
		thread = setup(argv[2]);
		end = now() + strtoul(argv[3], NULL, 0) * 1000000;
		while (ops < MAX_ROUNDS && (now() < end || ops < 5)) {
			arm();
			fire();
			v[ops++] = atomic_load(&took);
		}
		must_verify(argv[2]);
		printf("time workload=%s ops=%lu hot=%lu hot_ns=%.0f verified=%lu\n",
		       argv[2], ops, hot, median(v, ops), ops);
	} else if (argc == 6 && !strcmp(argv[1], "count")) {
		int ctl = open(argv[4], O_WRONLY), ack = open(argv[5], O_RDONLY);
		unsigned long want = strtoul(argv[3], NULL, 0);

		if (ctl < 0 || ack < 0)
			die("cannot open perf's control FIFOs");
		thread = setup(argv[2]);
		/*
		 * One phase: perf visits each CPU to enable its events, and a
		 * CPU that it visits while the sleeper sleeps loads perf's mm.
		 */
		flush_counters(delta, -1);
		perf_say(ctl, ack, "enable\n");
		for (; ops < want; ops++) {
			arm();
			fire();
		}
		perf_say(ctl, ack, "disable\n");
		flush_counters(delta, 1);
		must_verify(argv[2]);
		printf("count workload=%s ops=%lu phases=1", argv[2], ops);
		print_counters(delta);
		printf(" verified=%lu\n", ops);
	} else {
		die("usage: wake time WORKLOAD MS [HOT] | count WORKLOAD OPS CTL ACK | selftest");
	}
	finish(thread);
	return 0;
}
