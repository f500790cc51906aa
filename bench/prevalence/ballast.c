// SPDX-License-Identifier: GPL-2.0
/*
 * usage: ballast KIB
 *
 * Locks so much memory that others have KIB left, by MemAvailable, says
 * "ballast ready", and holds it until its standard input ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP	(4UL << 20)

static unsigned long available(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	unsigned long leave = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	char c;

	if (!leave) {
		fprintf(stderr, "usage: ballast KIB\n");
		return 2;
	}
	while (available() > leave + (STEP >> 10)) {
		char *p = mmap(NULL, STEP, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

		if (p == MAP_FAILED) {
			perror("ballast: mmap");
			return 1;
		}
	}
	puts("ballast ready");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
