// SPDX-License-Identifier: GPL-2.0
/*
 * No store is lost: dirty bits survive whatever happens to their mapping.
 *
 * Writers, each on a CPU of its own, store a rising number to each of their
 * pages, and remember what they have stored. Meanwhile one system call
 *
 *   munmap	unmaps the pages
 *   overmap	maps the same pages over them
 *   mremap	moves them
 *   mprotect	makes them read-only
 *   writeback	writes them back, which write-protects and cleans them
 *   reclaim	pages them out
 *   soft-dirty	write-protects them, to see what is written to from then on
 *
 * Right after that the writers are stopped, so that the last store to most of
 * the pages came before it. Then all that is dirty goes to where it is kept, what
 * is clean is dropped, and what is there must be the last number that was stored
 * to each page. A store through a translation that outlived the call, or a dirty
 * bit that was overwritten, leaves an older one.
 *
 *   file-*	a shared mapping of a block device, which is then written back and
 *		read past the page cache. Here it is write-protection that counts:
 *		the kernel knows from the fault that a page is dirty
 *   anon-*	private memory that has come back from swap, and has kept its place
 *		there. Its pages are clean until the dirty bit says otherwise, and
 *		if that is lost they are dropped
 *
 * Each is done in each mode of x86/pmap_inval in debugfs, if there is that file.
 * In mode hold mprotect() has to do its work while the writers are held, so it gets
 * a budget with which that comes about, and what came about otherwise is no round.
 *
 * usage: dirty [case...]	DIRTY_DEVICE=/dev/... (default /dev/ram1): its
 *				contents are overwritten
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
#include <sys/stat.h>

#include "kselftest.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define MODE_FILE	"/sys/kernel/debug/x86/pmap_inval"
#define STATS_FILE	"/sys/kernel/debug/cpusync/stats"
#define BUDGET_FILE	"/sys/module/cpusync/parameters/budget_us"
#define LONG_BUDGET	"20000"
#define PAGES		32	/* of each writer */
#define MAX_WRITERS	3
#define MIN_ROUNDS	3
#define CASE_MS		1000
#define LIMIT_MS	20000

struct writer {
	pthread_t thread;
	int cpu;
	char *base;			/* where its pages are */
	uint64_t number;
	uint64_t last[PAGES];		/* that was stored */
	bool seen[PAGES];		/* was it, in this round? */
	sigjmp_buf parked;
};

static struct writer writers[MAX_WRITERS];
static unsigned int nr_writers;
static __thread struct writer *me;

static size_t page_size, length;
static const char *device;
static int fd, direct, pagemap;
static char *file_map, *anon_map, *spare, *copy;
static char *map;		/* the one of the two that is written to */

/* Odd: writers write. Even: they do not, once all of them have said so. */
static atomic_ulong phase;
static atomic_int nr_parked;
static atomic_bool finished;

static void may_not_write(int sig)
{
	/* Until the mapping is back, or the round is over. */
	(void)sig;
	if (atomic_load(&phase) & 1)
		sched_yield();
	else
		siglongjmp(me->parked, 1);
}

static void write_pages(struct writer *w)
{
	unsigned int i;

	/* A fault that is not to be repeated comes back here. */
	if (sigsetjmp(w->parked, 1))
		return;

	for (;;) {
		for (i = 0; i < PAGES; i++) {
			if (!(atomic_load(&phase) & 1))
				return;
			w->number++;
			__atomic_store_n((uint64_t *)(w->base + i * page_size),
					 w->number, __ATOMIC_RELAXED);
			w->last[i] = w->number;
			w->seen[i] = true;
		}
	}
}

static void *writer(void *arg)
{
	unsigned long was = 0;
	cpu_set_t set;

	me = arg;
	CPU_ZERO(&set);
	CPU_SET(me->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (!atomic_load(&finished)) {
		if (atomic_load(&phase) == was) {
			sched_yield();
			continue;
		}
		was = atomic_load(&phase);
		if (was & 1)
			write_pages(me);
		else
			atomic_fetch_add(&nr_parked, 1);
	}
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

/*
 * Without readahead, so that each page has a folio of its own: Linux 7.3.4 does
 * not write back all that was stored to a mapping of larger ones.
 */
static bool map_file(void)
{
	return mmap(file_map, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    fd, 0) == file_map && !madvise(file_map, length, MADV_RANDOM);
}

static bool restore(void)
{
	if (map == file_map)
		return map_file();
	return !mprotect(map, length, PROT_READ | PROT_WRITE);
}

static bool do_munmap(void)
{
	return !munmap(map, length);
}

static bool do_overmap(void)
{
	return map_file();
}

static bool do_mremap(void)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	return mremap(map, length, length, flags, spare) == spare &&
	       mremap(spare, length, length, flags, map) == map;
}

static bool do_mprotect(void)
{
	return !mprotect(map, length, PROT_READ);
}

static bool do_writeback(void)
{
	return !msync(map, length, MS_SYNC);
}

static bool do_reclaim(void)
{
	return !madvise(map, length, MADV_PAGEOUT);
}

static bool do_soft_dirty(void)
{
	int f = open("/proc/self/clear_refs", O_WRONLY);
	bool ok = f >= 0 && write(f, "4", 1) == 1;

	if (f >= 0)
		close(f);
	return ok;
}

static const struct {
	const char *name;
	bool (*call)(void);
} cases[] = {
	{ "file-munmap", do_munmap },
	{ "file-overmap", do_overmap },
	{ "file-mremap", do_mremap },
	{ "file-mprotect", do_mprotect },
	{ "file-writeback", do_writeback },
	{ "file-reclaim", do_reclaim },
	{ "file-soft-dirty", do_soft_dirty },
	{ "anon-mremap", do_mremap },
	{ "anon-mprotect", do_mprotect },
	{ "anon-reclaim", do_reclaim },
	{ "anon-soft-dirty", do_soft_dirty },
};

/* Let the writers write for a moment. Return how many pages they have reached. */
static unsigned int let_write(unsigned int us)
{
	unsigned int i, n, seen = 0;

	for (n = 0; n < nr_writers; n++)
		memset(writers[n].seen, 0, sizeof(writers[n].seen));
	atomic_fetch_add(&phase, 1);
	usleep(us);
	for (n = 0; n < nr_writers; n++)
		for (i = 0; i < PAGES; i++)
			seen += __atomic_load_n(&writers[n].seen[i], __ATOMIC_RELAXED);
	return seen;
}

static void stop_writers(void)
{
	atomic_store(&nr_parked, 0);
	atomic_fetch_add(&phase, 1);
	while (atomic_load(&nr_parked) < (int)nr_writers)
		sched_yield();
}

/* Have the pages written to where they are kept, and see what is there. */
static bool read_file(void)
{
	return !fsync(fd) && pread(direct, copy, length, 0) == (ssize_t)length;
}

/* How many pages are in swap? */
static unsigned int swapped(void)
{
	unsigned int nr = length / page_size, i, n = 0;
	uint64_t entry;

	for (i = 0; i < nr; i++)
		n += pread(pagemap, &entry, sizeof(entry),
			   ((uintptr_t)map / page_size + i) * sizeof(entry)) == sizeof(entry) &&
		     entry >> 62 & 1;
	return n;
}

static bool read_anon(bool *out)
{
	size_t i;

	if (madvise(map, length, MADV_PAGEOUT))
		return false;
	*out = swapped() >= length / page_size / 2;
	/* Reading leaves them clean, and where they are in swap. */
	for (i = 0; i < length; i += page_size)
		*(uint64_t *)(copy + i) = __atomic_load_n((uint64_t *)(map + i),
							  __ATOMIC_RELAXED);
	return true;
}

/* How many holds there have been since boot. */
static unsigned long nr_held(void)
{
	unsigned long n = 0;
	FILE *f = fopen(STATS_FILE, "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "all %lu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static const char *run_case(unsigned int nr, bool hold, unsigned int *rounds,
			    unsigned int *lost)
{
	bool anon = !strncmp(cases[nr].name, "anon", 4), out = true, all, ok;
	uint64_t end = now_ms() + CASE_MS;
	unsigned long all_held = 0, held;
	unsigned int us = 200, n, i;
	int err;

	hold = hold && cases[nr].call == do_mprotect;
	*rounds = *lost = 0;
	map = anon ? anon_map : file_map;
	for (n = 0; n < nr_writers; n++) {
		writers[n].base = map + n * PAGES * page_size;
		for (i = 0; i < PAGES; i++)
			writers[n].last[i] = *(uint64_t *)(map + (n * PAGES + i) * page_size);
	}
	if (anon && (!read_anon(&out) || !out))
		return "no swap";

	while (now_ms() < end || (*rounds < MIN_ROUNDS && now_ms() < end + LIMIT_MS)) {
		held = nr_held();
		all = let_write(us) == nr_writers * PAGES;
		ok = cases[nr].call();
		err = errno;
		stop_writers();
		/* In the call, not when the mapping is restored. */
		held = nr_held() - held;
		all_held += held;
		if (!ok)
			return strerror(err);
		if (!(anon ? restore() && read_anon(&out) : read_file()))
			return "cannot read what was kept";
		for (n = 0; n < nr_writers; n++)
			for (i = 0; i < PAGES; i++)
				*lost += *(uint64_t *)(copy + (n * PAGES + i) * page_size) !=
					 writers[n].last[i];
		/* A round counts if all pages had been written to before. */
		if (all)
			*rounds += out && (!hold || held);
		else if (us < 50000)
			us *= 2;
		if (!anon && !restore())
			return "cannot map it again";
	}
	return hold && !all_held && !*lost ? "nobody was held" : NULL;
}

static bool write_file(const char *path, const char *value)
{
	int f = open(path, O_WRONLY);
	bool ok = f >= 0 && write(f, value, strlen(value)) == (ssize_t)strlen(value);

	if (f >= 0)
		close(f);
	return ok;
}

static void run_mode(const char *mode, int argc, char **argv)
{
	unsigned int i, rounds, lost;
	const char *why;
	char name[64];
	int k;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		for (k = 1; k < argc && strcmp(argv[k], cases[i].name); k++)
			;
		if (argc > 1 && k == argc)
			continue;
		why = run_case(i, !strcmp(mode, "hold"), &rounds, &lost);
		if (!why && rounds < MIN_ROUNDS)
			why = "too few rounds";
		snprintf(name, sizeof(name), *mode ? "%s, %s" : "%s", cases[i].name, mode);
		if (why && (!strcmp(why, "no swap") || !strcmp(why, "nobody was held") ||
			    !strcmp(why, strerror(EINVAL))))
			ksft_test_result_skip("%s: %s\n", name, why);
		else
			ksft_test_result(!why && !lost, "%s: %u rounds, %u stores lost%s%s\n",
					 name, rounds, lost, why ? ", " : "", why ?: "");
	}
}

int main(int argc, char **argv)
{
	static const char * const modes[] = { "off", "on", "hold" };
	struct sigaction act = { .sa_handler = may_not_write, .sa_flags = SA_NODEFER };
	unsigned int nr_cases = ARRAY_SIZE(cases), selected = 0, i, n;
	bool switched = !access(MODE_FILE, W_OK);
	char budget[16] = "";
	cpu_set_t set;
	struct stat st;
	int cpu, k;
	FILE *f;

	ksft_print_header();
	page_size = sysconf(_SC_PAGESIZE);
	device = getenv("DIRTY_DEVICE") ?: "/dev/ram1";
	fd = open(device, O_RDWR);
	direct = open(device, O_RDONLY | O_DIRECT);
	if (fd < 0 || direct < 0 || fstat(fd, &st) || !S_ISBLK(st.st_mode))
		ksft_exit_skip("needs a block device to overwrite, not %s: see DIRTY_DEVICE\n",
			       device);

	sched_getaffinity(0, sizeof(set), &set);
	for (cpu = 1; cpu < CPU_SETSIZE && nr_writers < MAX_WRITERS; cpu++)
		if (CPU_ISSET(cpu, &set))
			writers[nr_writers++].cpu = cpu;
	if (!nr_writers)
		ksft_exit_skip("needs 2 CPUs, one to write on\n");

	for (k = 1; k < argc; k++) {
		for (i = 0; i < nr_cases && strcmp(argv[k], cases[i].name); i++)
			;
		if (i == nr_cases)
			ksft_exit_fail_msg("no case '%s', as file-munmap or anon-mprotect\n",
					   argv[k]);
		selected++;
	}

	length = (size_t)nr_writers * PAGES * page_size;
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	file_map = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	anon_map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	spare = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	copy = aligned_alloc(page_size, length);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (file_map == MAP_FAILED || anon_map == MAP_FAILED || spare == MAP_FAILED ||
	    !copy || pagemap < 0 || !map_file())
		ksft_exit_fail_msg("cannot map %s: %s\n", device, strerror(errno));
	madvise(anon_map, length, MADV_NOHUGEPAGE);
	memset(file_map, 0, length);
	memset(anon_map, 0, length);
	sigaction(SIGSEGV, &act, NULL);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (n = 0; n < nr_writers; n++) {
		if (pthread_create(&writers[n].thread, NULL, writer, &writers[n]))
			ksft_exit_fail_msg("cannot start a thread\n");
	}

	f = fopen(BUDGET_FILE, "r");
	if (f) {
		if (!fgets(budget, sizeof(budget), f) || !write_file(BUDGET_FILE, LONG_BUDGET))
			ksft_exit_fail_msg("cannot set the budget of holds\n");
		fclose(f);
	}

	ksft_set_plan((selected ?: nr_cases) * (switched ? 3 : 1));
	if (!switched)
		run_mode("", argc, argv);
	for (i = 0; switched && i < 3; i++) {
		if (!write_file(MODE_FILE, modes[i]))
			ksft_exit_fail_msg("cannot set mode %s\n", modes[i]);
		run_mode(modes[i], argc, argv);
	}
	if (switched)
		write_file(MODE_FILE, "on");
	if (*budget)
		write_file(BUDGET_FILE, budget);

	atomic_store(&finished, true);
	for (n = 0; n < nr_writers; n++)
		pthread_join(writers[n].thread, NULL);
	ksft_finished();
}
