// SPDX-License-Identifier: GPL-2.0
/*
 * Count TLB flushes, per operation.
 *
 * A thread runs on another CPU all the time, and one sleeps on a third: that
 * CPU is idle and in lazy TLB mode. Then an operation on memory of no interest
 * to both is done, and from the tracepoint tlb:tlb_flush, and the TLB row of
 * /proc/interrupts, this is counted:
 *
 *   shootdowns	requests to other CPUs
 *   full	flushes of everything, on the CPUs that run the process
 *   partial	flushes of single translations, likewise
 *   lazy	interrupts to the idle CPU
 *
 * The median of some rounds is held against a bar. Bars that ask for a minimum
 * are there too: who unhooks or moves a page table must flush all, everywhere.
 *
 * usage: flush_count [-r] [operation...]	-r: report, do not judge
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest.h"

#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_MERGEABLE
#define MADV_MERGEABLE 12
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC 0x8000
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif

#define ROUNDS		7
#define PAGE		4096UL
#define HUGE		0x200000UL
#define GIG		0x40000000UL
#define NR		5		/* pages of an operation on small ones */
#define NR_HUGE		4
/*
 * All happens inside of one mapping of 1G without access, so that no page table
 * is freed because its last neighbour went.
 */
#define ARENA		((char *)(64 * GIG))
#define AT		(ARENA + 64 * HUGE)
#define ELSEWHERE	(ARENA + 128 * HUGE)
#define SHARED_AT	((char *)(80 * GIG))

#define KSM		"/sys/kernel/mm/ksm/"
#define THP		"/sys/kernel/mm/transparent_hugepage/enabled"
#define MODE		"/sys/kernel/debug/x86/pmap_inval"
#define NR_HUGEPAGES	"/proc/sys/vm/nr_hugepages"
#define TRACING		"/sys/kernel/tracing/instances/flush_count"

#define RW		(PROT_READ | PROT_WRITE)

enum { SHOOTDOWNS, FULL, PARTIAL, LAZY, NR_COUNTS };
static const char * const count_name[] = { "shootdowns", "full", "partial", "lazy" };

enum { F_THP = 1, F_HUGETLB = 2, F_UFFD = 4, F_SOFT_DIRTY = 8, F_KSM = 16,
	F_PROMOTE = 32 };

#define ANY	999

struct op {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
	void (*finish)(void);
	int min[NR_COUNTS], max[NR_COUNTS];
	unsigned int needs;
};

static int cpus[3], nr_cpus;
static pid_t tid_of_spinner, tid_of_sleeper;
static atomic_uint wake, awake;
static atomic_bool spinning;
static char *spin_page;
static int trace_on = -1, uffd = -1, pagemap = -1;

static void must(bool ok, const char *what)
{
	if (!ok)
		ksft_exit_fail_msg("flush_count: %s: %s\n", what, strerror(errno));
}

static void doze(long ns)
{
	struct timespec ts = { .tv_nsec = ns };

	nanosleep(&ts, NULL);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	must(f && fscanf(f, "%ld", &n) == 1, path);
	fclose(f);
	return n;
}

/* Is it the one that is selected in such a file? */
static bool selected(const char *path, const char *what)
{
	char line[128] = "", word[32];
	FILE *f = fopen(path, "r");

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	snprintf(word, sizeof(word), "[%s]", what);
	return strstr(line, word);
}

/* What is changed for all of the machine is put back at the end. */

static long hugepages_before = -1, ksm_before = -1;

static void write_number(const char *path, long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", n);
	write_file(path, text);
}

static void put_back(void)
{
	if (hugepages_before >= 0)
		write_number(NR_HUGEPAGES, hugepages_before);
	if (ksm_before >= 0)
		write_number(KSM "run", ksm_before);
	write_file(TRACING "/tracing_on", "0");
	if (trace_on >= 0)
		close(trace_on);
	rmdir(TRACING);
}

static void put_back_and_die(int sig)
{
	put_back();
	_exit(128 + sig);
}

/* The other two threads */

static void *spin(void *arg)
{
	pin(cpus[1]);
	tid_of_spinner = gettid();
	for (;;) {
		atomic_load_explicit((atomic_char *)arg, memory_order_relaxed);
		atomic_store_explicit(&spinning, true, memory_order_relaxed);
	}
	return NULL;
}

static void *doze_off(void *arg)
{
	unsigned int seen = 0;

	pin(cpus[2]);
	tid_of_sleeper = gettid();
	for (;;) {
		syscall(SYS_futex, &wake, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
		seen = atomic_load(&wake);
		atomic_load_explicit((atomic_char *)arg, memory_order_relaxed);
		atomic_store(&awake, seen);
	}
	return NULL;
}

static char state_of(pid_t tid)
{
	char path[64], line[256] = "", *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	must(f && fgets(line, sizeof(line), f), path);
	fclose(f);
	p = strrchr(line, ')');
	return p ? p[2] : '?';
}

/* Have the sleeper run once, so that its CPU has this mm loaded, and sleep again. */
static void make_lazy(void)
{
	unsigned int n;

	if (nr_cpus < 3)
		return;
	n = atomic_fetch_add(&wake, 1) + 1;
	syscall(SYS_futex, &wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	while (atomic_load(&awake) != n || state_of(tid_of_sleeper) != 'S')
		doze(100000);
	doze(2000000);
}

/* Counting */

static long lazy_interrupts(void)
{
	int columns = 0, column = -1, cpu, len;
	char *line = NULL, *p;
	size_t size = 0;
	long n = -1;
	FILE *f;

	if (nr_cpus < 3)
		return 0;
	f = fopen("/proc/interrupts", "r");
	must(f && getline(&line, &size, f) > 0, "/proc/interrupts");
	/* CPUs that are offline have no column. */
	for (p = line; sscanf(p, " CPU%d%n", &cpu, &len) == 1; p += len, columns++)
		if (cpu == cpus[2])
			column = columns;
	while (n < 0 && column >= 0 && getline(&line, &size, f) > 0) {
		p = strstr(line, "TLB:");
		if (!p)
			continue;
		for (p += 4; column >= 0; column--)
			n = strtol(p, &p, 10);
	}
	free(line);
	fclose(f);
	must(n >= 0, "no TLB row in /proc/interrupts");
	return n;
}

/* The thread that merges pages for all processes; 0: there is none. */
static int pid_of_ksmd(void)
{
	struct dirent *d;
	char path[300], name[32];
	int pid = 0;
	DIR *dir = opendir("/proc");
	FILE *f;

	must(dir, "/proc");
	while (!pid && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%31s", name) == 1 && !strcmp(name, "ksmd"))
			pid = atoi(d->d_name);
		fclose(f);
	}
	closedir(dir);
	return pid;
}

static void start_tracing(void)
{
	char pids[64];

	if (access(TRACING, F_OK) && mkdir(TRACING, 0700))
		ksft_exit_skip("flush_count: no tracefs at /sys/kernel/tracing\n");
	snprintf(pids, sizeof(pids), "%d %d %d", gettid(), tid_of_spinner, pid_of_ksmd());
	must(write_file(TRACING "/tracing_on", "0") &&
	     write_file(TRACING "/set_event_pid", pids) &&
	     write_file(TRACING "/events/tlb/tlb_flush/enable", "1"), TRACING);
	trace_on = open(TRACING "/tracing_on", O_WRONLY);
	must(trace_on >= 0, TRACING "/tracing_on");
}

static void measure(const struct op *op, int *n)
{
	char line[512], *p;
	long pages, before;
	int reason;
	FILE *f;

	op->prepare();
	make_lazy();
	must(write_file(TRACING "/trace", ""), TRACING "/trace");
	before = lazy_interrupts();
	must(write(trace_on, "1", 1) == 1, "tracing_on");
	op->run();
	must(write(trace_on, "0", 1) == 1, "tracing_on");
	n[LAZY] = lazy_interrupts() - before;
	if (op->finish)
		op->finish();

	f = fopen(TRACING "/trace", "r");
	must(f, TRACING "/trace");
	while (fgets(line, sizeof(line), f)) {
		p = strstr(line, "tlb_flush: pages:");
		if (!p || sscanf(p + 17, "%ld", &pages) != 1)
			continue;
		p = strrchr(line, '(');
		reason = p ? atoi(p + 1) : -1;
		if (reason == 4)
			n[SHOOTDOWNS]++;
		else if (reason >= 1 && reason <= 3)
			n[pages == -1 ? FULL : PARTIAL]++;
	}
	fclose(f);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Memory */

static void map(char *at, size_t len, int prot, int flags, int fd)
{
	must(mmap(at, len, prot, flags | MAP_FIXED, fd, 0) == at, "mmap");
}

static void reserve(char *at, size_t len)
{
	map(at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

static void fill(char *at, size_t len, size_t step)
{
	for (size_t i = 0; i < len; i += step)
		atomic_store_explicit((atomic_char *)(at + i), 1, memory_order_relaxed);
}

static void protect(char *at, size_t len, int prot)
{
	must(!mprotect(at, len, prot), "mprotect");
}

static bool is_huge(char *at)
{
	char line[256], want[32];
	bool in = false;
	long kb = 0;
	FILE *f = fopen("/proc/self/smaps", "r");

	must(f, "/proc/self/smaps");
	snprintf(want, sizeof(want), "%lx-", (unsigned long)at);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, want, strlen(want)))
			in = true;
		else if (in && sscanf(line, "AnonHugePages: %ld", &kb) == 1)
			break;
	}
	fclose(f);
	return kb > 0;
}

static void small_pages(void)
{
	map(AT, HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(!madvise(AT, HUGE, MADV_NOHUGEPAGE) || errno == EINVAL, "MADV_NOHUGEPAGE");
	fill(AT, NR * PAGE, PAGE);
}

static void small_pages_read_only(void)
{
	small_pages();
	protect(AT, NR * PAGE, PROT_READ);
}

static void table_of_small_pages(void)
{
	small_pages();
	fill(AT, HUGE, PAGE);
}

static void collapsible(void)
{
	table_of_small_pages();
	must(!madvise(AT, HUGE, MADV_HUGEPAGE), "MADV_HUGEPAGE");
}

static void huge_page(void)
{
	map(AT, HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(!madvise(AT, HUGE, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	fill(AT, HUGE, PAGE);
	if (!is_huge(AT))
		ksft_exit_fail_msg("flush_count: no huge page to be had\n");
}

/* If it were small pages, there would be no split to count. */
static void huge_zero_page(void)
{
	map(AT, HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(!madvise(AT, HUGE, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	atomic_load_explicit((atomic_char *)AT, memory_order_relaxed);
}

static void hugetlb(int flags, int prot)
{
	map(AT, NR_HUGE * HUGE, RW, flags | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	fill(AT, NR_HUGE * HUGE, HUGE);
	protect(AT, NR_HUGE * HUGE, prot);
}

static void hugetlb_shared(void)	{ hugetlb(MAP_SHARED, RW); }
static void hugetlb_shared_ro(void)	{ hugetlb(MAP_SHARED, PROT_READ); }
static void hugetlb_private_ro(void)	{ hugetlb(MAP_PRIVATE, PROT_READ); }

static void all_reserved(void)
{
	reserve(AT, NR_HUGE * HUGE);
	reserve(ELSEWHERE, NR_HUGE * HUGE);
}

/* A process that maps the same hugetlb file at the same place, so shares its page table. */
static pid_t sharer;

static void share(void)
{
	int fd = syscall(SYS_memfd_create, "flush_count", MFD_HUGETLB), ready[2];
	char c;

	must(fd >= 0 && !ftruncate(fd, GIG) && !pipe(ready), "memfd");
	map(SHARED_AT, GIG, RW, MAP_SHARED | MAP_NORESERVE, fd);
	fill(SHARED_AT, HUGE, HUGE);
	sharer = fork();
	must(sharer >= 0, "fork");
	if (!sharer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		map(SHARED_AT, GIG, RW, MAP_SHARED | MAP_NORESERVE, fd);
		fill(SHARED_AT, HUGE, HUGE);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	must(read(ready[0], &c, 1) == 1, "the sharer");
	close(ready[0]);
	close(ready[1]);
	close(fd);
}

static void unshare_by_split(void)
{
	must(!madvise(SHARED_AT, GIG / 2, MADV_DONTFORK), "MADV_DONTFORK");
}

static void unshare_by_mprotect(void)
{
	protect(SHARED_AT, GIG, PROT_READ);
}

static void end_sharing(void)
{
	kill(sharer, SIGKILL);
	waitpid(sharer, NULL, 0);
	munmap(SHARED_AT, GIG);
}

/* Pages of the same content. */

static void mergeable(void)
{
	small_pages();
	must(!madvise(AT, NR * PAGE, MADV_MERGEABLE), "MADV_MERGEABLE");
}

static void merge(void)
{
	int i;

	must(write_file(KSM "run", "1"), KSM "run");
	for (i = 0; i < 1000 && read_number(KSM "pages_sharing") < NR - 1; i++)
		doze(10000000);
	must(write_file(KSM "run", "0"), KSM "run");
	if (i == 1000)
		ksft_exit_fail_msg("flush_count: pages are not merged\n");
}

static void merged(void)
{
	mergeable();
	merge();
}

static void unmerge(void)
{
	must(write_file(KSM "run", "2"), KSM "run");
	must(!read_number(KSM "pages_sharing"), "pages are still merged");
}

static void unmerge_and_reserve(void)
{
	unmerge();
	all_reserved();
}

/* userfaultfd */

static bool open_uffd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC,
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api);
}

static void watched(void)
{
	struct uffdio_register reg = {
		.range = { (unsigned long)AT, HUGE }, .mode = UFFDIO_REGISTER_MODE_WP,
	};

	small_pages();
	must(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
}

static void uffd_wp(__u64 mode)
{
	struct uffdio_writeprotect wp = {
		.range = { (unsigned long)AT, NR * PAGE }, .mode = mode,
	};

	must(!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

static void uffd_protect(void)		{ uffd_wp(UFFDIO_WRITEPROTECT_MODE_WP); }
static void uffd_unprotect(void)	{ uffd_wp(0); }

static void watched_protected(void)
{
	watched();
	uffd_protect();
}

#ifdef PAGEMAP_SCAN
static void pagemap_scan(void)
{
	struct page_region regions[4];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (unsigned long)AT,
		.end = (unsigned long)AT + NR * PAGE,
		.vec = (unsigned long)regions,
		.vec_len = 4,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	must(ioctl(pagemap, PAGEMAP_SCAN, &arg) == 1, "PAGEMAP_SCAN");
}
#endif

/* What is counted */

static void unmap_small(void)		{ must(!munmap(AT, NR * PAGE), "munmap"); }
static void unmap_one(void)		{ must(!munmap(AT, PAGE), "munmap"); }
static void read_only(void)		{ protect(AT, NR * PAGE, PROT_READ); }
static void read_only_one(void)		{ protect(AT, PAGE, PROT_READ); }
static void read_only_huge(void)	{ protect(AT, HUGE, PROT_READ); }
static void read_only_hugetlb(void)	{ protect(AT, NR_HUGE * HUGE, PROT_READ); }
static void writable_hugetlb(void)	{ protect(AT, NR_HUGE * HUGE, RW); }

static void toggle_write(void)
{
	protect(AT, NR * PAGE, PROT_READ);
	protect(AT, NR * PAGE, RW);
}

static void toggle_exec(void)
{
	protect(AT, NR * PAGE, PROT_READ | PROT_EXEC);
	protect(AT, NR * PAGE, PROT_READ);
}

static void toggle_write_huge(void)
{
	protect(AT, HUGE, PROT_READ);
	protect(AT, HUGE, RW);
}

static void free_huge(void)
{
	must(!madvise(AT, HUGE, MADV_FREE), "MADV_FREE");
}

static void collapse(void)
{
	must(!madvise(AT, HUGE, MADV_COLLAPSE), "MADV_COLLAPSE");
}

static void move(size_t len)
{
	must(mremap(AT, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, ELSEWHERE) == ELSEWHERE,
	     "mremap");
}

static void move_small(void)	{ move(NR * PAGE); }
static void move_huge(void)	{ move(HUGE); }

static void clear_soft_dirty(void)
{
	must(write_file("/proc/self/clear_refs", "4"), "clear_refs");
}

/*				   shootdowns full partial lazy */
#define MIN(...)	.min = { __VA_ARGS__ }
#define MAX(...)	.max = { __VA_ARGS__ }

static const struct op ops[] = {
	{ "munmap", small_pages, unmap_small, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0) },
	{ "mprotect-down", small_pages, read_only, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0) },
	{ "toggle-write", small_pages, toggle_write, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_PROMOTE },
	{ "toggle-exec", small_pages_read_only, toggle_exec, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_PROMOTE },
	{ "mremap-small", small_pages, move_small, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0) },
	{ "mremap-table", table_of_small_pages, move_huge, all_reserved,
	  MIN(1, 2, 0, 1), MAX(1, 2, 0, 1) },
	{ "thp-split-mprotect", huge_page, read_only_one, all_reserved,
	  MIN(2, 0, 4, 1), MAX(2, 0, 4, 1), F_THP },
	{ "thp-split-munmap", huge_page, unmap_one, all_reserved,
	  MIN(2, 0, 4, 1), MAX(2, 0, 4, 1), F_THP },
	{ "thp-split-zero", huge_zero_page, unmap_one, all_reserved,
	  MIN(2, 0, 4, 1), MAX(2, 0, 4, 1), F_THP },
	{ "thp-mprotect-down", huge_page, read_only_huge, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_THP },
	{ "thp-toggle-write", huge_page, toggle_write_huge, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_THP | F_PROMOTE },
	{ "thp-madv-free", huge_page, free_huge, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_THP },
	{ "thp-mremap", huge_page, move_huge, all_reserved,
	  MIN(1, 0, 2, 1), MAX(1, 0, 2, 1), F_THP },
	{ "thp-soft-dirty", huge_page, clear_soft_dirty, all_reserved,
	  MIN(1, 2, 0, 0), MAX(1, 2, 0, 1), F_THP | F_SOFT_DIRTY },
	{ "thp-collapse", collapsible, collapse, all_reserved,
	  MIN(1, 2, 0, 1), MAX(ANY, ANY, ANY, ANY), F_THP },
	{ "hugetlb-mprotect-down", hugetlb_shared, read_only_hugetlb, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_HUGETLB },
	{ "hugetlb-mprotect-up", hugetlb_shared_ro, writable_hugetlb, all_reserved,
	  MIN(0, 0, 0, 0), MAX(0, 0, 0, 0), F_HUGETLB | F_PROMOTE },
	{ "hugetlb-mprotect-same", hugetlb_private_ro, writable_hugetlb, all_reserved,
	  MIN(0, 0, 0, 0), MAX(0, 0, 0, 0), F_HUGETLB },
	{ "hugetlb-unshare", share, unshare_by_split, end_sharing,
	  MIN(1, 2, 0, 1), MAX(1, 2, 0, 1), F_HUGETLB },
	{ "hugetlb-unshare-mprotect", share, unshare_by_mprotect, end_sharing,
	  MIN(1, 2, 0, 1), MAX(1, 2, 0, 1), F_HUGETLB },
	/* The first page is made read-only, each other one and then replaced. */
	{ "ksm-merge", mergeable, merge, unmerge_and_reserve,
	  MIN(2 * NR - 1, 0, 2 * NR - 1, 0), MAX(2 * NR - 1, 0, ANY, 0), F_KSM },
	{ "ksm-unmerge", merged, unmerge, all_reserved,
	  MIN(NR, 0, 2 * NR, 0), MAX(NR, 0, 2 * NR, 0), F_KSM },
	{ "uffd-wp-protect", watched, uffd_protect, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_UFFD },
	{ "uffd-wp-unprotect", watched_protected, uffd_unprotect, all_reserved,
	  MIN(0, 0, 0, 0), MAX(0, 0, 0, 0), F_UFFD | F_PROMOTE },
#ifdef PAGEMAP_SCAN
	{ "pagemap-scan", watched, pagemap_scan, all_reserved,
	  MIN(1, 0, 2, 0), MAX(1, 0, 2, 0), F_UFFD },
#endif
};

static bool has_soft_dirty(void)
{
	uint64_t entry = 0;

	small_pages();
	must(pread(pagemap, &entry, 8, (uintptr_t)AT / PAGE * 8) == 8, "pagemap");
	all_reserved();
	return entry >> 55 & 1;
}

static const char *why_not(const struct op *op, bool report)
{
	if (op->needs & F_THP && (access(THP, F_OK) || selected(THP, "never")))
		return "no transparent huge pages";
	/* Anybody else flushes then, which is no fault, but can be reported. */
	if (op->needs & F_PROMOTE && !report && !selected(MODE, "on") && !selected(MODE, "hold"))
		return "no promotions without a flush: no CONFIG_X86_PMAP_INVAL, or off";
	if (op->needs & F_KSM && access(KSM "run", W_OK))
		return "no merging of equal pages";
	if (op->needs & F_UFFD && uffd < 0)
		return "no userfaultfd with asynchronous write protection";
	if (op->needs & F_SOFT_DIRTY && !has_soft_dirty())
		return "no soft-dirty bits";
	if (op->needs & F_HUGETLB) {
		char *p = mmap(NULL, NR_HUGE * HUGE, RW, MAP_SHARED | MAP_ANONYMOUS |
			       MAP_HUGETLB | MAP_POPULATE, -1, 0);

		if (p == MAP_FAILED)
			return "no hugetlb pages";
		munmap(p, NR_HUGE * HUGE);
	}
	return NULL;
}

static void judge(const struct op *op, bool report)
{
	int n[NR_COUNTS][ROUNDS], med[NR_COUNTS], one[NR_COUNTS], i, r;
	const char *bad = NULL;

	for (r = 0; r < ROUNDS; r++) {
		memset(one, 0, sizeof(one));
		measure(op, one);
		for (i = 0; i < NR_COUNTS; i++)
			n[i][r] = one[i];
	}
	for (i = 0; i < NR_COUNTS; i++) {
		qsort(n[i], ROUNDS, sizeof(int), by_value);
		med[i] = n[i][ROUNDS / 2];
		if (i == LAZY && nr_cpus < 3)
			continue;
		if (!report && !bad && (med[i] < op->min[i] || med[i] > op->max[i])) {
			ksft_print_msg("%s: %d %s, allowed are %d to %d\n", op->name,
				       med[i], count_name[i], op->min[i], op->max[i]);
			bad = count_name[i];
		}
	}
	ksft_test_result(!bad, "%s: shootdowns %d full %d partial %d lazy %d\n", op->name,
			 med[SHOOTDOWNS], med[FULL], med[PARTIAL], med[LAZY]);
}

static bool wanted(const struct op *op, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], op->name))
			return true;
	return !argc;
}

int main(int argc, char **argv)
{
	bool report = argc > 1 && !strcmp(argv[1], "-r");
	unsigned int i, plan = 0;
	const char *why;
	pthread_t t;
	cpu_set_t set;

	argc -= 1 + report;
	argv += 1 + report;
	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("flush_count: needs root\n");
	must(!sched_getaffinity(0, sizeof(set), &set), "sched_getaffinity");
	for (i = 0; i < CPU_SETSIZE && nr_cpus < 3; i++)
		if (CPU_ISSET(i, &set))
			cpus[nr_cpus++] = i;
	if (nr_cpus < 2)
		ksft_exit_skip("flush_count: needs two CPUs\n");

	pin(cpus[0]);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	must(pagemap >= 0, "pagemap");
	atexit(put_back);
	signal(SIGTERM, put_back_and_die);
	signal(SIGINT, put_back_and_die);
	if (!access(NR_HUGEPAGES, W_OK)) {
		hugepages_before = read_number(NR_HUGEPAGES);
		if (hugepages_before < 2 * NR_HUGE)
			write_number(NR_HUGEPAGES, 2 * NR_HUGE);
	}
	if (!access(KSM "run", W_OK))
		ksm_before = read_number(KSM "run");
	spin_page = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(spin_page != MAP_FAILED, "mmap");
	fill(spin_page, 2 * PAGE, PAGE);
	reserve(ARENA, GIG);
	if (!open_uffd()) {
		close(uffd);
		uffd = -1;
	}
	must(!pthread_create(&t, NULL, spin, spin_page), "pthread_create");
	if (nr_cpus > 2)
		must(!pthread_create(&t, NULL, doze_off, spin_page + PAGE), "pthread_create");
	while (!atomic_load(&spinning) || (nr_cpus > 2 && !tid_of_sleeper))
		doze(1000000);
	start_tracing();

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		plan += wanted(&ops[i], argc, argv);
	if (!plan)
		ksft_exit_fail_msg("flush_count: no such operation\n");
	ksft_set_plan(plan);
	ksft_print_msg("median of %d rounds, %s a CPU in lazy TLB mode\n", ROUNDS,
		       nr_cpus < 3 ? "without" : "with");
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		if (!wanted(&ops[i], argc, argv))
			continue;
		why = why_not(&ops[i], report);
		if (why)
			ksft_test_result_skip("%s: %s\n", ops[i].name, why);
		else
			judge(&ops[i], report);
	}
	ksft_finished();
}
