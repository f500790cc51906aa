// SPDX-License-Identifier: GPL-2.0
/*
 * icount - instructions per operation, in a guest that QEMU runs with -icount:
 * there the time stamp counter counts the instructions of all vCPUs together.
 *
 *   icount [WORKLOAD...]
 *
 * With a second CPU a bystander runs there and does nothing, so that flushes go
 * there too. It does so in turns that are short (PAUSE ends them, in QEMU), and
 * what it executes meanwhile counts as well.
 *
 * Each workload runs REPEAT times after WARM turns that do not count. Printed are
 * the median, which timer ticks and the refill of a slab hardly move, and the
 * distance of the quartiles.
 */
#define _GNU_SOURCE
#include "common.h"
#include <sys/wait.h>

#define WARM	8
#define REPEAT	101

static char *area;
static int ping[2], pong[2];
static const char *self;

static inline unsigned long ticks(void)
{
	unsigned int lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (unsigned long)hi << 32 | lo;
}

static void fill(unsigned long n, unsigned long stride)
{
	for (unsigned long i = 0; i < n; i++)
		*(volatile char *)(area + i * stride * PG) = 1;
}

static void fill_1(void) { fill(1, 1); }
static void fill_5(void) { fill(5, 1); }
static void fill_5x64(void) { fill(5, 64); }
static void fill_16x64(void) { fill(16, 64); }
static void fill_33(void) { fill(33, 1); }
static void fill_512(void) { fill(512, 1); }
static void drop_1(void) { dontneed(area, 1); }
static void drop_5(void) { dontneed(area, 5); }
static void drop_5x64(void) { dontneed(area, 257); }
static void drop_16x64(void) { dontneed(area, 961); }
static void drop_33(void) { dontneed(area, 33); }
static void drop_512(void) { dontneed(area, 512); }
static void touch_1(void) { *(volatile char *)area = 1; }

static void map_16(void)
{
	if (mmap(area, 16 * PG, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != area)
		die("icount: mmap: %s", strerror(errno));
}

static void unmap_16(void) { munmap(area, 16 * PG); }
static void map_fill_16(void) { map_16(); fill(16, 1); }
static void map_unmap_16(void) { map_16(); unmap_16(); }

static void protect(int pages, int prot)
{
	if (mprotect(area, pages * PG, prot))
		die("icount: mprotect: %s", strerror(errno));
}

static void protect_5(void) { protect(5, PROT_READ); }
static void protect_512(void) { protect(512, PROT_READ); }

static void writable_5(void)
{
	protect(5, PROT_READ | PROT_WRITE);
	fill(5, 1);
}

static void writable_512(void)
{
	protect(512, PROT_READ | PROT_WRITE);
	fill(512, 1);
}

static void protect_toggle(void)
{
	protect(5, PROT_READ);
	protect(5, PROT_READ | PROT_WRITE);
}

static void brk_toggle(void)
{
	if (sbrk(16 * PG) == (void *)-1 || sbrk(-16 * (long)PG) == (void *)-1)
		die("icount: brk: %s", strerror(errno));
}

static void fork_exit(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void fork_exec(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execl(self, self, "nothing", NULL);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
}

/* Two switches between address spaces, there and back. */
static void ping_pong(void)
{
	char c = 0;

	if (write(ping[1], &c, 1) != 1 || read(pong[0], &c, 1) != 1)
		die("icount: pipe: %s", strerror(errno));
}

static void start_pong(void)
{
	char c;

	if (pipe(ping) || pipe(pong))
		die("icount: pipe: %s", strerror(errno));
	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, 9);
	while (read(ping[0], &c, 1) == 1 && write(pong[1], &c, 1) == 1)
		;
	_exit(0);
}

static void *bystander(void *arg)
{
	pin(1);
	for (*(atomic_int *)arg = 1; ; )
		__asm__ volatile("pause");
	return NULL;
}

static void nothing(void) { }
static void syscall_only(void) { getppid(); }

static const struct {
	const char *name;
	void (*prepare)(void), (*operate)(void);
} table[] = {
	{ "nothing", nothing, nothing },
	{ "getppid", nothing, syscall_only },
	{ "madvise-1x1", fill_1, drop_1 },
	{ "madvise-5x1", fill_5, drop_5 },
	{ "madvise-33x1", fill_33, drop_33 },
	{ "madvise-512x1", fill_512, drop_512 },
	{ "madvise-5x64", fill_5x64, drop_5x64 },
	{ "madvise-16x64", fill_16x64, drop_16x64 },
	{ "munmap-16x1", map_fill_16, unmap_16 },
	{ "mprotect-5x1", fill_5, protect_toggle },
	{ "mprotect-down-5x1", writable_5, protect_5 },
	{ "mprotect-down-512x1", writable_512, protect_512 },
	{ "mmap-munmap", nothing, map_unmap_16 },
	{ "page-fault", drop_1, touch_1 },
	{ "brk", nothing, brk_toggle },
	{ "fork-exit", nothing, fork_exit },
	{ "exec", nothing, fork_exec },
	{ "switch", nothing, ping_pong },
};

static void measure(int k)
{
	double v[REPEAT];
	unsigned long t;

	for (int i = -WARM; i < REPEAT; i++) {
		table[k].prepare();
		t = ticks();
		table[k].operate();
		t = ticks() - t;
		if (i >= 0)
			v[i] = t;
	}
	t = median(v, REPEAT);
	printf("icount workload=%s instr=%lu spread=%.0f min=%.0f\n", table[k].name, t,
	       v[REPEAT * 3 / 4] - v[REPEAT / 4], v[0]);
}

int main(int argc, char **argv)
{
	int n = sizeof(table) / sizeof(table[0]), wanted;
	atomic_int there = 0;
	pthread_t thread;

	self = argv[0];
	no_huge_pages();
	pin(0);
	/* The page tables around it are there to stay. */
	area = map_pages(2048);
	area = (char *)(((unsigned long)area + 512 * PG - 1) & -(512 * PG));
	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	*(volatile char *)(area + 1023 * PG) = 1;
	start_pong();
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
		if (pthread_create(&thread, NULL, bystander, &there))
			die("cannot start the bystander");
		while (!atomic_load(&there))
			__asm__ volatile("pause");
	}
	for (int k = 0; k < n; k++) {
		wanted = argc < 2;
		for (int i = 1; i < argc; i++)
			wanted |= !strcmp(argv[i], table[k].name);
		if (wanted) {
			map_16();
			measure(k);
		}
	}
	return 0;
}
