// SPDX-License-Identifier: GPL-2.0
/*
 * tlbbench - one initiator that takes translations away, and bystanders on all
 * other CPUs, in the same process, that keep touching pages of their own.
 *
 *   tlbbench time WORKLOAD MS [WS]             how long one operation takes
 *   tlbbench count WORKLOAD OPS CTL ACK        operations between perf's enable and disable
 *   tlbbench selftest                          the verification must notice a lost operation
 *
 * WORKLOAD is OP-PAGESxSTRIDE (stride in pages) with OP one of madvise, munmap,
 * mprotect-down and mprotect-up, or munmap-stack, or idle (count only).
 * CTL and ACK are the FIFOs of perf's --control. Results are one line of
 * key=value; METHOD.md says what each means.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
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
#define PMD_PAGES	512UL
#define REGIONS		16	/* and operations per batch or phase */
#define MAX_BATCHES	65536
#define VERIFY_ROUNDS	3
#define MAX_CPUS	64

enum op { MADVISE, MUNMAP, DOWN, UP, IDLE };

static struct {
	const char *name;
	enum op op;
	unsigned long pages, stride;	/* touched pages and their distance */
	unsigned long first, span;	/* first touched page; pages operated on */
	unsigned long offset;		/* of a region from a 2M boundary */
} w;

static char *region[REGIONS];
static int lose_op;			/* selftest: pretend the operation was done */

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

static unsigned long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static void parse(const char *name)
{
	static const char * const op[] = { "madvise", "munmap", "mprotect-down", "mprotect-up" };
	const char *p = strrchr(name, '-');
	int i, end = 0;

	w.name = name;
	w.offset = 64;
	w.first = 0;
	if (!strcmp(name, "idle")) {
		w.op = IDLE;
		w.pages = w.stride = w.span = 1;
		return;
	}
	if (!strcmp(name, "munmap-stack")) {
		/*
		 * A thread's stack: the kernel aligns an anonymous mapping of
		 * 8 MiB to 2 MiB, so the page table below its top is its own.
		 */
		w.op = MUNMAP;
		w.pages = 3;
		w.stride = 1;
		w.span = 2048;
		w.first = w.span - w.pages;
		w.offset = 0;
		return;
	}
	for (i = 0; i < 4; i++)
		if (p && strlen(op[i]) == (size_t)(p - name) && !strncmp(name, op[i], p - name))
			break;
	if (i == 4 || sscanf(p, "-%lux%lu%n", &w.pages, &w.stride, &end) != 2 || p[end] ||
	    !w.pages || !w.stride)
		die("no workload '%s'; expected OP-PAGESxSTRIDE, as in madvise-5x64", name);
	w.op = i;
	w.span = (w.pages - 1) * w.stride + 1;
}

static char *page(char *r, unsigned long i)
{
	return r + (w.first + i * w.stride) * PG;
}

static void map_region(char *r)
{
	if (mmap(r, w.span * PG, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != r)
		die("mmap: %s", strerror(errno));
}

/* Regions lie in a PROT_NONE arena: never merged, always with neighbours. */
static void map_regions(void)
{
	unsigned long step = (w.span + 2 * PMD_PAGES - 1) / PMD_PAGES * PMD_PAGES;
	unsigned long len = (REGIONS * step + PMD_PAGES) * PG;
	char *arena = mmap(NULL, len, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (arena == MAP_FAILED)
		die("mmap of %lu MiB: %s", len >> 20, strerror(errno));
	arena = (char *)(((unsigned long)arena + PMD_PAGES * PG - 1) & -(PMD_PAGES * PG));
	for (int i = 0; i < REGIONS; i++) {
		region[i] = arena + (i * step + w.offset) * PG;
		map_region(region[i]);
		for (unsigned long j = 0; j < w.pages; j++)
			*(volatile char *)page(region[i], j) = 1;
	}
}

static void protect(char *r, int prot)
{
	if (mprotect(r, w.span * PG, prot))
		die("mprotect: %s", strerror(errno));
}

/* What the operation needs before it: never timed, never counted. */
static void prepare(char *r)
{
	switch (w.op) {
	case MUNMAP:
		map_region(r);
		/* fallthrough */
	case MADVISE:
		for (unsigned long i = 0; i < w.pages; i++)
			*(volatile char *)page(r, i) = 1;
		break;
	case DOWN:
		protect(r, PROT_READ | PROT_WRITE);
		break;
	case UP:
		protect(r, PROT_READ);
		break;
	case IDLE:
		break;
	}
}

static void operate(char *r)
{
	int err = 0;

	switch (w.op) {
	case MADVISE:
		err = madvise(r, w.span * PG, MADV_DONTNEED);
		break;
	case MUNMAP:
		err = munmap(r, w.span * PG);
		break;
	case DOWN:
		err = mprotect(r, w.span * PG, PROT_READ);
		break;
	case UP:
		err = mprotect(r, w.span * PG, PROT_READ | PROT_WRITE);
		break;
	case IDLE:
		usleep(50);
		break;
	}
	if (err)
		die("%s: %s", w.name, strerror(errno));
}

/* Verification: an access that may fault. */
static __thread sigjmp_buf trap;
static __thread volatile sig_atomic_t trapping;

static void on_segv(int sig)
{
	if (!trapping) {
		signal(sig, SIG_DFL);
		return;
	}
	siglongjmp(trap, 1);
}

static int faults(char *p, int write)
{
	int hit = 1;

	trapping = 1;
	if (!sigsetjmp(trap, 0)) {
		char c = *(volatile char *)p;

		if (write)
			*(volatile char *)p = c;
		hit = 0;
	}
	trapping = 0;
	return hit;
}

/* Load the translations that the operation must take away; writable ones for DOWN. */
static void see(char *r)
{
	for (unsigned long i = 0; i < w.pages; i++)
		if (faults(page(r, i), w.op == DOWN))
			die("%s: page %lu is not there before the operation", w.name, i);
}

/* Number of pages where this CPU still sees what was there before. */
static unsigned long stale(char *r)
{
	unsigned long bad = 0;

	for (unsigned long i = 0; i < w.pages; i++) {
		char *p = page(r, i);

		switch (w.op) {
		case MADVISE:
			bad += faults(p, 0) || *(volatile char *)p;
			break;
		case MUNMAP:
			bad += !faults(p, 0);
			break;
		case DOWN:
			bad += faults(p, 0) || !faults(p, 1) || *(volatile char *)p != 1;
			break;
		case UP:
			bad += faults(p, 1) || *(volatile char *)p != 1;
			break;
		case IDLE:
			break;
		}
	}
	return bad;
}

/* Bystanders. */
enum cmd { TOUCH, SEE, CHECK, STOP };

static struct bystander {
	_Alignas(128) atomic_ulong touches;
	_Alignas(128) atomic_int cmd;
	atomic_ulong bad;
	pthread_t thread;
	int cpu;
} by[MAX_CPUS];
static int nr_by;
static unsigned long ws = 160;

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("cannot run on CPU %d: %s", cpu, strerror(errno));
}

static void *bystand(void *arg)
{
	struct bystander *b = arg;
	unsigned long n = 0;
	char *set = mmap(NULL, ws * PG, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (set == MAP_FAILED)
		die("mmap of a bystander's set: %s", strerror(errno));
	pin(b->cpu);
	memset(set, 1, ws * PG);
	for (;;) {
		switch (atomic_load_explicit(&b->cmd, memory_order_acquire)) {
		case STOP:
			return NULL;
		case SEE:
			see(region[0]);
			atomic_store(&b->cmd, TOUCH);
			break;
		case CHECK:
			b->bad = stale(region[0]);
			atomic_store(&b->cmd, TOUCH);
			break;
		}
		/* Another line of each page, or all would share a few cache sets. */
		for (unsigned long i = 0; i < ws; i++)
			(void)*(volatile char *)(set + i * PG + i * 64 % PG);
		n += ws;
		atomic_store_explicit(&b->touches, n, memory_order_relaxed);
	}
}

static void start_bystanders(void)
{
	nr_by = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	if (nr_by > MAX_CPUS)
		nr_by = MAX_CPUS;
	pin(0);
	for (int i = 0; i < nr_by; i++) {
		by[i].cpu = i + 1;
		atomic_store(&by[i].cmd, SEE);
		if (pthread_create(&by[i].thread, NULL, bystand, &by[i]))
			die("cannot start a bystander");
	}
	for (int i = 0; i < nr_by; i++)
		while (!atomic_load(&by[i].touches))
			usleep(1000);
}

static void stop_bystanders(void)
{
	for (int i = 0; i < nr_by; i++) {
		atomic_store(&by[i].cmd, STOP);
		pthread_join(by[i].thread, NULL);
	}
}

static void tell(enum cmd cmd)
{
	for (int i = 0; i < nr_by; i++)
		atomic_store(&by[i].cmd, cmd);
	for (int i = 0; i < nr_by; i++)
		while (atomic_load(&by[i].cmd) != TOUCH)
			;
}

static unsigned long touches(void)
{
	unsigned long n = 0;

	for (int i = 0; i < nr_by; i++)
		n += atomic_load_explicit(&by[i].touches, memory_order_relaxed);
	return n;
}

/*
 * Every CPU first uses the translations, then nobody may use them any more.
 * The bystanders look first: the initiator's look may fault and flush.
 */
static unsigned long verify(void)
{
	unsigned long bad = 0;

	for (int k = 0; k < VERIFY_ROUNDS; k++) {
		prepare(region[0]);
		see(region[0]);
		tell(SEE);
		if (!lose_op)
			operate(region[0]);
		tell(CHECK);
		for (int i = 0; i < nr_by; i++)
			bad += by[i].bad;
		bad += stale(region[0]);
		/* stale() may have mapped the zero page: do not let prepare() meet it. */
		if (w.op == MADVISE)
			madvise(region[0], w.span * PG, MADV_DONTNEED);
	}
	return bad;
}

static void must_verify(const char *when)
{
	unsigned long bad = verify();

	if (bad)
		die("verification failed: %s, %s: %lu pages were still seen after the operation",
		    w.name, when, bad);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double idle_rate(void)
{
	unsigned long t = now(), n = touches();

	usleep(40000);
	n = touches() - n;
	return n * 1e9 / (now() - t);
}

/*
 * mprotect's two directions undo each other, so they run in phases over all
 * regions, and only the phase that is asked for is timed and watched. The other
 * operations alternate with touching the pages again.
 */
static void time_ops(unsigned long ms)
{
	static double batch[MAX_BATCHES];
	unsigned long ops = 0, watched = 0, seen = 0, end, t, n;
	double took[REGIONS];
	int phased = w.op == DOWN || w.op == UP;
	size_t batches = 0;
	double base;

	must_verify("before");
	base = idle_rate();
	end = now() + ms * 1000000;
	while (batches < MAX_BATCHES && (now() < end || batches < 5)) {
		if (phased)
			for (int i = 0; i < REGIONS; i++)
				prepare(region[i]);
		n = touches();
		t = now();
		for (int i = 0; i < REGIONS; i++) {
			char *r = region[phased ? i : 0];
			unsigned long start;

			if (!phased)
				prepare(r);
			start = now();
			operate(r);
			took[i] = now() - start;
		}
		/* The host may take a vCPU away: a mean would show its scheduler. */
		qsort(took, REGIONS, sizeof(*took), by_size);
		batch[batches++] = (took[REGIONS / 2 - 1] + took[REGIONS / 2]) / 2;
		ops += REGIONS;
		watched += now() - t;
		seen += touches() - n;
	}
	base = (base + idle_rate()) / 2;
	must_verify("after");
	qsort(batch, batches, sizeof(*batch), by_size);
	printf("time workload=%s bystanders=%d ws=%lu ops=%lu batches=%zu op_ns=%.0f "
	       "idle_per_s=%.0f bystander_per_s=%.0f bystander_loss_per_op=%.1f verified=%d\n",
	       w.name, nr_by, ws, ops, batches, batch[batches / 2], base,
	       seen * 1e9 / watched, (base * watched / 1e9 - seen) / ops, 2 * VERIFY_ROUNDS);
}

/* perf's --control protocol: a word out, "ack" back. */
static void perf_say(int ctl, int ack, const char *word)
{
	char buf[16];

	if (write(ctl, word, strlen(word)) < 0 || read(ack, buf, sizeof(buf)) < 4)
		die("perf does not answer on its control FIFO");
}

static unsigned long counter(const char *file, const char *key)
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

static void count_ops(unsigned long ops, const char *ctl_path, const char *ack_path)
{
	static const char * const key[] = {
		"nr_tlb_local_flush_all ", "nr_tlb_local_flush_one ",
		"nr_tlb_remote_flush ", "nr_tlb_remote_flush_received ",
	};
	static const char * const label[] = { "vm_local_all", "vm_local_one", "vm_remote", "vm_received" };
	unsigned long delta[4] = { 0 }, irq = 0, done = 0;
	int ctl = open(ctl_path, O_WRONLY), ack = open(ack_path, O_RDONLY);

	if (ctl < 0 || ack < 0)
		die("cannot open perf's control FIFOs");
	must_verify("before");
	while (done < ops) {
		for (int i = 0; i < REGIONS; i++)
			prepare(region[i]);
		for (int i = 0; i < 4; i++)
			delta[i] -= counter("/proc/vmstat", key[i]);
		irq -= counter("/proc/interrupts", "TLB:");
		perf_say(ctl, ack, "enable\n");
		for (int i = 0; i < REGIONS; i++)
			operate(region[i]);
		perf_say(ctl, ack, "disable\n");
		for (int i = 0; i < 4; i++)
			delta[i] += counter("/proc/vmstat", key[i]);
		irq += counter("/proc/interrupts", "TLB:");
		done += REGIONS;
	}
	must_verify("after");
	printf("count workload=%s bystanders=%d ops=%lu irq_tlb=%lu", w.name, nr_by, done, irq);
	for (int i = 0; i < 4; i++)
		printf(" %s=%lu", label[i], delta[i]);
	printf(" verified=%d\n", 2 * VERIFY_ROUNDS);
}

static void setup(const char *name)
{
	parse(name);
	map_regions();
	start_bystanders();
}

static int selftest(void)
{
	static const char * const name[] = { "madvise-5x64", "munmap-5x64", "mprotect-down-5x64" };
	int failed = 0;

	/* mprotect-up has no lost state to see: without it a write faults. */
	for (int i = 0; i < 3; i++) {
		setup(name[i]);
		for (lose_op = 0; lose_op < 2; lose_op++) {
			int noticed = verify() != 0;

			printf("selftest workload=%s lost=%d noticed=%d\n", name[i], lose_op, noticed);
			failed |= noticed != lose_op;
		}
		stop_bystanders();
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_segv, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		die("cannot switch off huge pages: %s", strerror(errno));
	if (argc == 2 && !strcmp(argv[1], "selftest"))
		return selftest();
	if (argc >= 4 && !strcmp(argv[1], "time")) {
		if (argc > 4)
			ws = strtoul(argv[4], NULL, 0);
		if (!ws)
			die("a bystander needs at least one page");
		setup(argv[2]);
		time_ops(strtoul(argv[3], NULL, 0));
	} else if (argc == 6 && !strcmp(argv[1], "count")) {
		setup(argv[2]);
		count_ops(strtoul(argv[3], NULL, 0), argv[4], argv[5]);
	} else {
		die("usage: tlbbench time WORKLOAD MS [WS] | count WORKLOAD OPS CTL ACK | selftest");
	}
	stop_bystanders();
	return 0;
}
