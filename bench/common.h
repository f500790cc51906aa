/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of bench/ share: errors, time, CPUs, perf's FIFOs, counters. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PG		4096UL
#define MAX_CPUS	64

__attribute__((noreturn, format(printf, 1, 2)))
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("tlbbench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static inline unsigned long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static inline void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("cannot run on CPU %d: %s", cpu, strerror(errno));
}

static inline void no_huge_pages(void)
{
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		die("cannot switch off huge pages: %s", strerror(errno));
}

static inline void *map_pages(unsigned long pages)
{
	void *p = mmap(NULL, pages * PG, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap of %lu pages: %s", pages, strerror(errno));
	return p;
}

static inline void dontneed(char *p, unsigned long pages)
{
	if (madvise(p, pages * PG, MADV_DONTNEED))
		die("madvise: %s", strerror(errno));
}

/* perf's --control protocol: a word out, "ack" back. */
static inline void perf_say(int ctl, int ack, const char *word)
{
	char buf[16];

	if (write(ctl, word, strlen(word)) < 0 || read(ack, buf, sizeof(buf)) < 4)
		die("perf does not answer on its control FIFO");
}

/* Sum of the numbers behind a key in a file of /proc. */
static inline unsigned long counter(const char *file, const char *key)
{
	char line[4096], *p, *end;
	unsigned long n = 0, v;
	FILE *f = fopen(file, "r");

	while (f && fgets(line, sizeof(line), f)) {
		p = line + strspn(line, " ");
		if (strncmp(p, key, strlen(key)))
			continue;
		for (p += strlen(key); v = strtoul(p, &end, 10), end != p; p = end)
			n += v;
	}
	if (f)
		fclose(f);
	return n;
}

static const char * const flush_key[] = {
	"nr_tlb_local_flush_all ", "nr_tlb_local_flush_one ",
	"nr_tlb_remote_flush ", "nr_tlb_remote_flush_received ", "TLB:",
};

static const char * const flush_label[] = {
	"vm_local_all", "vm_local_one", "vm_remote", "vm_received", "irq_tlb",
};

#define FLUSH_KEYS	5

/* Add (sign 1) or subtract (sign -1) the kernel's own counters. */
static inline void flush_counters(unsigned long *delta, long sign)
{
	for (int i = 0; i < FLUSH_KEYS; i++)
		delta[i] += sign * counter(i == 4 ? "/proc/interrupts" : "/proc/vmstat",
					   flush_key[i]);
}

static inline void print_counters(const unsigned long *delta)
{
	for (int i = 0; i < FLUSH_KEYS; i++)
		printf(" %s=%lu", flush_label[i], delta[i]);
}

static inline int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts the values. */
static inline double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_size);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

#endif
