// SPDX-License-Identifier: GPL-2.0
/* Freestanding i386 program: does a thread go on executing a page after mprotect()? */
typedef unsigned int u32;
static long sc(long n, long a, long b, long c, long d, long e)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return r;
}
static volatile u32 count, faulted;
static void (*fn)(void);
static void put(const char *s) { int n = 0; while (s[n]) n++; sc(4, 1, (long)s, n, 0, 0); }
static void num(u32 v) { char b[12]; int i = 11; b[i] = 0; do { b[--i] = '0' + v % 10; v /= 10; } while (v); put(b + i); }
static void on_segv(int s) { faulted = 1; for (;;) sc(1, 0, 0, 0, 0, 0); }
struct ksa { void (*h)(int); unsigned long flags; void (*restorer)(void); unsigned long mask[2]; };
static char stack[65536] __attribute__((aligned(16)));
static void thread(void) { for (;;) { fn(); count++; } }
static void msleep(long ms) { long ts[2] = { ms / 1000, (ms % 1000) * 1000000 }; sc(162, (long)ts, 0, 0, 0, 0); }
void main_(void)
{
	struct ksa sa = { on_segv, 0, 0, { 0, 0 } };
	long arg[6] = { 0, 4096, 7, 0x22, -1, 0 };
	unsigned char *p = (void *)sc(90, (long)arg, 0, 0, 0, 0);
	u32 a, b;
	long r;

	p[0] = 0xc3;
	fn = (void *)p;
	r = sc(125, (long)p, 4096, 5, 0, 0);
	sc(174, 11, (long)&sa, 0, 8, 0);
	/* clone(VM|FS|FILES|SIGHAND|THREAD|SYSVSEM) */
	{
		long *sp = (long *)(stack + sizeof(stack) - 16);
		*sp = (long)thread;
		__asm__ volatile("int $0x80; test %%eax,%%eax; jnz 1f; ret; 1:" : "=a"(r)
			: "a"(120), "b"(0x50f00), "c"(sp), "d"(0), "S"(0), "D"(0) : "memory");
	}
	put("PAETEST clone "); num(r); put("\n");
	while (count < 1000) ;
	r = sc(125, (long)p, 4096, 1, 0, 0);
	a = count;
	msleep(500);
	b = count;
	put("PAETEST mprotect "); num(r); put(" executed after it "); num(b - a); put(faulted ? " times, then faulted\n" : " times, not faulted\n");
	sc(88, 0xfee1dead, 672274793, 0x1234567, 0, 0);
	for (;;) msleep(1000);
}
__asm__(".globl _start\n_start: andl $-16,%esp\n call main_\n");
