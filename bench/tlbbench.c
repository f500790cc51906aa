// SPDX-License-Identifier: GPL-2.0
/*
 * tlbbench - one initiator that takes translations away, and bystanders on all
 * other CPUs, in the same process, that keep touching pages of their own.
 *
 *   tlbbench time WORKLOAD MS [WS]             how long one operation takes
 *   tlbbench serve WORKLOAD [WS]               the same in slices: each line of
 *                                              standard input is a number of ms
 *   tlbbench count WORKLOAD OPS CTL ACK        operations between perf's enable and disable
 *   tlbbench selftest                          the verification must notice a lost operation
 *
 * WORKLOAD is OP-PAGESxSTRIDE (stride in pages) with OP one of madvise, munmap,
 * mprotect-down, mprotect-up, pageout and pageout-clean, or munmap-stack, or idle (count only).
 * With -tN behind it there are N initiators, on CPUs 0 to N-1, each with its own
 * pages, and no bystanders. With -p2 there are two processes on the same CPUs.
 * CTL and ACK are the FIFOs of perf's --control. Results are one line of
 * key=value; METHOD.md says what each means.
 */
#define _GNU_SOURCE
#include "common.h"
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PMD_PAGES	512UL
#define REGIONS		16	/* and operations per batch or phase */
#define MAX_REGIONS	64	/* per thread, where several run at once */
#define MAX_BATCHES	65536
#define VERIFY_ROUNDS	3

enum op { MADVISE, MUNMAP, DOWN, UP, PAGEOUT, PAGEOUT_CLEAN, IDLE };

static struct {
	char name[64];
	enum op op;
	unsigned long pages, stride;	/* touched pages and their distance */
	unsigned long first, span;	/* first touched page; pages operated on */
	unsigned long offset;		/* of a region from a 2M boundary */
	int threads, procs;		/* 0: one initiator with bystanders */
} w;

static char *regions[MAX_CPUS][MAX_REGIONS];
#define region regions[0]		/* of the one initiator */
static int nr_regions = REGIONS;
static int lose_op;			/* selftest: pretend the operation was done */

static void parse(const char *full)
{
	static const char * const op[] = { "madvise", "munmap", "mprotect-down", "mprotect-up",
					   "pageout", "pageout-clean" };
	char *name = w.name, *p;
	int i, n, end = 0;

	if (strlen(full) >= sizeof(w.name))
		die("no workload '%s'", full);
	strcpy(name, full);
	w.threads = w.procs = 0;
	nr_regions = REGIONS;
	p = strrchr(name, '-');
	if (p && sscanf(p, "-t%d%n", &n, &end) == 1 && !p[end]) {
		if (n < 1 || n > MAX_CPUS || n > sysconf(_SC_NPROCESSORS_ONLN))
			die("%s needs %d CPUs", full, n);
		w.threads = n;
		nr_regions = MAX_REGIONS;
		*p = 0;
	} else if (p && !strcmp(p, "-p2")) {
		w.procs = 2;
		nr_regions = MAX_REGIONS;
		*p = 0;
	}
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
	p = strrchr(name, '-');
	for (i = 0; i < IDLE; i++)
		if (p && strlen(op[i]) == (size_t)(p - name) && !strncmp(name, op[i], p - name))
			break;
	if (i == IDLE || sscanf(p, "-%lux%lu%n", &w.pages, &w.stride, &end) != 2 || p[end] ||
	    !w.pages || !w.stride)
		die("no workload '%s'; expected OP-PAGESxSTRIDE, as in madvise-5x64", full);
	strcpy(name, full);
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
static void map_regions(int who)
{
	unsigned long step = (w.span + 2 * PMD_PAGES - 1) / PMD_PAGES * PMD_PAGES;
	unsigned long len = (nr_regions * step + PMD_PAGES) * PG;
	char *arena = mmap(NULL, len, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (arena == MAP_FAILED)
		die("mmap of %lu MiB: %s", len >> 20, strerror(errno));
	arena = (char *)(((unsigned long)arena + PMD_PAGES * PG - 1) & -(PMD_PAGES * PG));
	for (int i = 0; i < nr_regions; i++) {
		char *r = regions[who][i] = arena + (i * step + w.offset) * PG;

		map_region(r);
		for (unsigned long j = 0; j < w.pages; j++)
			*(volatile char *)page(r, j) = 1;
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
	case PAGEOUT:
		for (unsigned long i = 0; i < w.pages; i++)
			*(volatile char *)page(r, i) = 1;
		break;
	case PAGEOUT_CLEAN:
		for (unsigned long i = 0; i < w.pages; i++)
			(void)*(volatile char *)page(r, i);
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
	case PAGEOUT:
	case PAGEOUT_CLEAN:
		err = madvise(r, w.span * PG, MADV_PAGEOUT);
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

static int paged_out(void)
{
	return w.op == PAGEOUT || w.op == PAGEOUT_CLEAN;
}

/* Pages that have a translation, by pagemap: those that were not paged out. */
static unsigned long present(char *r)
{
	unsigned long n = 0;
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	for (unsigned long i = 0; i < w.pages; i++) {
		if (pread(fd, &entry, 8, (uintptr_t)page(r, i) / PG * 8) != 8)
			die("cannot read /proc/self/pagemap");
		n += entry >> 63;
	}
	close(fd);
	return n;
}

/*
 * Number of pages where this CPU still sees what was there before. What was paged
 * out gets another value before anyone looks.
 */
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
		case PAGEOUT:
		case PAGEOUT_CLEAN:
			bad += *(volatile char *)p != 2;
			break;
		case IDLE:
			break;
		}
	}
	return bad;
}

/* Bystanders. */
enum cmd { TOUCH, SEE, CHECK, PARK, STOP };

static struct bystander {
	_Alignas(128) atomic_ulong touches;
	_Alignas(128) atomic_int cmd;
	atomic_ulong bad;
	pthread_t thread;
	int cpu;
} by[MAX_CPUS];
static int nr_by;
static unsigned long ws = 160;

static void futex(void *word, int op, int value)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
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
		case PARK:
			futex(&b->cmd, FUTEX_WAIT, PARK);
			continue;
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
		if (w.procs)
			sched_yield();
		atomic_store_explicit(&b->touches, n, memory_order_relaxed);
	}
}

static void start_bystanders(void)
{
	nr_by = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	if (nr_by > MAX_CPUS)
		nr_by = MAX_CPUS;
	if (w.threads)
		nr_by = 0;
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
		futex(&by[i].cmd, FUTEX_WAKE, 1);
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

/* Nothing runs while the other kernel is asked. */
static void park_bystanders(void)
{
	for (int i = 0; i < nr_by; i++)
		atomic_store(&by[i].cmd, PARK);
}

static void wake_bystanders(void)
{
	for (int i = 0; i < nr_by; i++) {
		atomic_store(&by[i].cmd, TOUCH);
		futex(&by[i].cmd, FUTEX_WAKE, 1);
	}
}

/* Initiators, where there are several. The first one is the main thread. */
enum job { NONE, PREPARE, OPERATE, ONE_PREPARE, ONE_SEE, ONE_OPERATE, ONE_CHECK, ONE_DROP, LOOP,
	   SLEEP, EXIT };

static struct worker {
	_Alignas(128) atomic_int job;
	unsigned long bad, ops;
	double batch[MAX_BATCHES / 16];
	size_t batches;
	pthread_t thread;
} worker[MAX_CPUS];
static atomic_int loop_over;
static unsigned long loop_end;

static void loop(int who)
{
	struct worker *k = &worker[who];
	double took[REGIONS];

	k->ops = k->batches = 0;
	while (!atomic_load_explicit(&loop_over, memory_order_relaxed)) {
		for (int i = 0; i < REGIONS; i++) {
			char *r = regions[who][i];
			unsigned long t;

			prepare(r);
			t = now();
			operate(r);
			took[i] = now() - t;
		}
		k->ops += REGIONS;
		if (k->batches < MAX_BATCHES / 16)
			k->batch[k->batches++] = median(took, REGIONS);
		if (!who && now() >= loop_end && k->batches >= 5)
			atomic_store(&loop_over, 1);
	}
}

static void do_job(int who, enum job job)
{
	struct worker *k = &worker[who];
	char *own = regions[who][0];

	switch (job) {
	case PREPARE:
		for (int i = 0; i < nr_regions; i++)
			prepare(regions[who][i]);
		break;
	case OPERATE:
		for (int i = 0; i < nr_regions; i++)
			operate(regions[who][i]);
		break;
	case ONE_PREPARE:
		prepare(own);
		break;
	case ONE_SEE:
		for (int i = 0; i < w.threads; i++)
			see(regions[i][0]);
		break;
	case ONE_OPERATE:
		if (!lose_op)
			operate(own);
		break;
	case ONE_CHECK:
		k->bad = 0;
		for (int i = 0; i < w.threads; i++)
			k->bad += stale(regions[i][0]);
		break;
	case ONE_DROP:
		madvise(own, w.span * PG, MADV_DONTNEED);
		break;
	case LOOP:
		loop(who);
		break;
	case NONE:
	case SLEEP:
	case EXIT:
		break;
	}
}

static void *work(void *arg)
{
	int who = (struct worker *)arg - worker, job;

	pin(who);
	while ((job = atomic_load(&worker[who].job)) != EXIT) {
		if (job == SLEEP) {
			futex(&worker[who].job, FUTEX_WAIT, SLEEP);
		} else if (job) {
			do_job(who, job);
			atomic_store(&worker[who].job, NONE);
		}
	}
	return NULL;
}

/* All of them at once, back when the last one is done. */
static void everybody(enum job job)
{
	for (int i = 1; i < w.threads; i++)
		atomic_store(&worker[i].job, job);
	do_job(0, job);
	for (int i = 1; i < w.threads; i++)
		while (atomic_load(&worker[i].job) != NONE)
			;
}

static void let_workers(enum job job)
{
	for (int i = 1; i < w.threads; i++) {
		atomic_store(&worker[i].job, job);
		futex(&worker[i].job, FUTEX_WAKE, 1);
	}
}

/* The second process: the same, without end, and it yields after each operation. */
static struct {
	atomic_int run;
	atomic_ulong ops;
} *other;
static pid_t other_pid;

static void start_bystanders(void);

static void start_other(void)
{
	other = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (other == MAP_FAILED || w.op != MADVISE)
		die("%s: only madvise runs in two processes", w.name);
	atomic_store(&other->run, 1);
	other_pid = fork();
	if (other_pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map_regions(0);
	start_bystanders();
	for (;;) {
		if (!atomic_load(&other->run)) {
			park_bystanders();
			syscall(SYS_futex, &other->run, FUTEX_WAIT, 0, NULL, NULL, 0);
			wake_bystanders();
			continue;
		}
		prepare(region[0]);
		operate(region[0]);
		atomic_fetch_add(&other->ops, 1);
		sched_yield();
	}
}

static void let_other(int run)
{
	if (!other_pid)
		return;
	atomic_store(&other->run, run);
	syscall(SYS_futex, &other->run, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/*
 * Every CPU first uses the translations, then nobody may use them any more.
 * The bystanders look first: the initiator's look may fault and flush. Several
 * initiators drop their pages at the same time, and each looks at all of them.
 */
static unsigned long verify(void)
{
	unsigned long bad = 0;

	for (int k = 0; k < VERIFY_ROUNDS; k++) {
		if (w.threads) {
			everybody(ONE_PREPARE);
			everybody(ONE_SEE);
			everybody(ONE_OPERATE);
			everybody(ONE_CHECK);
			for (int i = 0; i < w.threads; i++)
				bad += worker[i].bad;
			if (w.op == MADVISE)
				everybody(ONE_DROP);
			continue;
		}
		prepare(region[0]);
		see(region[0]);
		tell(SEE);
		if (!lose_op)
			operate(region[0]);
		if (paged_out()) {
			/* A page may be busy for a moment: a second call. */
			if (!lose_op && present(region[0]))
				operate(region[0]);
			bad += present(region[0]);
			for (unsigned long i = 0; i < w.pages; i++)
				*(volatile char *)page(region[0], i) = 2;
		}
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

static double idle_rate(unsigned long us)
{
	unsigned long t = now(), n = touches();

	usleep(us);
	n = touches() - n;
	return n * 1e9 / (now() - t);
}

static double batch[MAX_BATCHES];

/* Several initiators: operations per second of all, preparation included. */
static void time_threads(unsigned long ms)
{
	unsigned long ops = 0, t = now();
	size_t batches = 0;

	loop_end = t + ms * 1000000;
	atomic_store(&loop_over, 0);
	everybody(LOOP);
	t = now() - t;
	for (int i = 0; i < w.threads; i++) {
		ops += worker[i].ops;
		for (size_t j = 0; j < worker[i].batches && batches < MAX_BATCHES; j++)
			batch[batches++] = worker[i].batch[j];
	}
	printf("time workload=%s threads=%d ops=%lu batches=%zu op_ns=%.0f ops_per_s=%.0f\n",
	       w.name, w.threads, ops, batches, median(batch, batches), ops * 1e9 / t);
}

/*
 * mprotect's two directions undo each other, so they run in phases over all
 * regions, and only the phase that is asked for is timed and watched. The other
 * operations alternate with touching the pages again.
 */
static void time_ops(unsigned long ms, unsigned long idle_us)
{
	unsigned long ops = 0, watched = 0, seen = 0, end, t, n;
	double took[REGIONS];
	int phased = w.op == DOWN || w.op == UP;
	size_t batches = 0;
	double base;

	if (w.threads)
		return time_threads(ms);
	base = idle_rate(idle_us);
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
			if (w.procs)
				sched_yield();
		}
		/* The host may take a vCPU away: a mean would show its scheduler. */
		batch[batches++] = median(took, REGIONS);
		ops += REGIONS;
		watched += now() - t;
		seen += touches() - n;
	}
	base = (base + idle_rate(idle_us)) / 2;
	printf("time workload=%s bystanders=%d ws=%lu ops=%lu batches=%zu op_ns=%.0f "
	       "idle_per_s=%.0f bystander_per_s=%.0f bystander_loss_per_op=%.1f\n",
	       w.name, nr_by, ws, ops, batches, median(batch, batches), base,
	       seen * 1e9 / watched, (base * watched / 1e9 - seen) / ops);
}

/* Verified before the first slice and after the last; asleep in between. */
static void serve(void)
{
	char line[32];

	must_verify("before");
	for (;;) {
		park_bystanders();
		let_workers(SLEEP);
		let_other(0);
		printf("ready workload=%s\n", w.name);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			break;
		let_other(1);
		let_workers(NONE);
		wake_bystanders();
		time_ops(strtoul(line, NULL, 0), 8000);
	}
	let_other(1);
	let_workers(NONE);
	wake_bystanders();
	must_verify("after");
}

static void count_ops(unsigned long ops, const char *ctl_path, const char *ack_path)
{
	int each = w.threads ? w.threads : 1;
	unsigned long delta[FLUSH_KEYS] = { 0 }, done = 0, phases = 0, out;
	int ctl = open(ctl_path, O_WRONLY), ack = open(ack_path, O_RDONLY);

	if (ctl < 0 || ack < 0)
		die("cannot open perf's control FIFOs");
	must_verify("before");
	/* Pages are clean when they have been out before. */
	if (w.op == PAGEOUT_CLEAN)
		everybody(OPERATE);
	while (done < ops) {
		everybody(PREPARE);
		flush_counters(delta, -1);
		perf_say(ctl, ack, "enable\n");
		if (w.procs) {
			done -= atomic_load(&other->ops);
			for (int i = 0; i < nr_regions; i++) {
				operate(region[i]);
				sched_yield();
			}
			done += atomic_load(&other->ops);
		} else {
			everybody(OPERATE);
		}
		perf_say(ctl, ack, "disable\n");
		flush_counters(delta, 1);
		done += nr_regions * each;
		phases++;
		out = nr_regions * w.pages;
		for (int i = 0; paged_out() && i < nr_regions; i++)
			out -= present(region[i]);
		if (out < nr_regions * w.pages * 9 / 10)
			die("verification failed: %s: only %lu of %lu pages were paged out",
			    w.name, out, nr_regions * w.pages);
	}
	must_verify("after");
	printf("count workload=%s bystanders=%d ops=%lu phases=%lu", w.name, nr_by, done, phases);
	print_counters(delta);
	printf(" verified=%d\n", 2 * VERIFY_ROUNDS);
}

static void setup(const char *name)
{
	parse(name);
	if (w.procs)
		start_other();
	for (int i = 0; i < (w.threads ? w.threads : 1); i++)
		map_regions(i);
	for (int i = 1; i < w.threads; i++) {
		atomic_store(&worker[i].job, NONE);
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i]))
			die("cannot start an initiator");
	}
	start_bystanders();
}

static void finish(void)
{
	stop_bystanders();
	let_workers(EXIT);
	for (int i = 1; i < w.threads; i++)
		pthread_join(worker[i].thread, NULL);
	if (other_pid) {
		kill(other_pid, SIGKILL);
		waitpid(other_pid, NULL, 0);
		other_pid = 0;
	}
}

static int has_swap(void)
{
	char line[256];
	int lines = 0;
	FILE *f = fopen("/proc/swaps", "r");

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1;
}

static int selftest(void)
{
	static const char * const name[] = { "madvise-5x64", "munmap-5x64", "mprotect-down-5x64",
					     "madvise-5x64-t2", "madvise-5x64-p2", "pageout-16x1" };
	int failed = 0;

	/* mprotect-up has no lost state to see: without it a write faults. */
	for (int i = 0; i < 6; i++) {
		if (!strncmp(name[i], "pageout", 7) && !has_swap()) {
			printf("selftest workload=%s skipped: no swap\n", name[i]);
			continue;
		}
		setup(name[i]);
		for (lose_op = 0; lose_op < 2; lose_op++) {
			int noticed = verify() != 0;

			printf("selftest workload=%s lost=%d noticed=%d\n", name[i], lose_op, noticed);
			failed |= noticed != lose_op;
		}
		lose_op = 0;
		finish();
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_segv, .sa_flags = SA_NODEFER };
	int serving = argc >= 3 && !strcmp(argv[1], "serve");

	sigaction(SIGSEGV, &sa, NULL);
	no_huge_pages();
	if (argc == 2 && !strcmp(argv[1], "selftest"))
		return selftest();
	if (serving || (argc >= 4 && !strcmp(argv[1], "time"))) {
		if (argc > 4 - serving)
			ws = strtoul(argv[4 - serving], NULL, 0);
		if (!ws)
			die("a bystander needs at least one page");
		setup(argv[2]);
		if (serving) {
			serve();
		} else {
			must_verify("before");
			time_ops(strtoul(argv[3], NULL, 0), 40000);
			must_verify("after");
		}
	} else if (argc == 6 && !strcmp(argv[1], "count")) {
		setup(argv[2]);
		count_ops(strtoul(argv[3], NULL, 0), argv[4], argv[5]);
	} else {
		die("usage: tlbbench time WORKLOAD MS [WS] | serve WORKLOAD [WS] | count WORKLOAD OPS CTL ACK | selftest");
	}
	finish();
	return 0;
}
