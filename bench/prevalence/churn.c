// SPDX-License-Identifier: GPL-2.0
/*
 * usage: churn THREADS TABS
 *
 * What a browser does to its allocator: each thread opens and closes so many
 * tabs of 1 to 4 MB, in objects of 16 bytes to 64 KB. While a tab is open, its
 * objects are replaced at random; a closed one is freed by another thread. Each
 * object carries its size and a pattern, which are looked at when it is freed.
 * Prints "churn objects=N damaged=N"; exit 1 when one was damaged.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN	6		/* tabs of a thread */
#define OBJECTS	1500		/* of a tab */

struct object {
	uint32_t size, mark;
};

struct tab {
	struct object *object[OBJECTS];
};

static unsigned int threads, tabs;
static unsigned long total, damaged;
static struct tab *mailbox;	/* a closed tab, for whoever comes next */

static uint32_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

static struct object *create(uint64_t *state)
{
	/* Many small ones; the large ones have most of the bytes. */
	uint32_t r = rnd(state), size = 16 + r % (r & 0x700 ? 512 : r & 0x3800 ? 8192 : 65536);
	struct object *o = malloc(size);

	if (!o)
		abort();
	for (uint32_t at = 0; at < size; at += 4096)
		((char *)o)[at] = 1;
	((char *)o)[size - 1] = (char)size;
	o->size = size;
	o->mark = ~size;
	return o;
}

static unsigned long destroy(struct object *o)
{
	unsigned long bad = o->mark != ~o->size;

	if (!bad && o->size > sizeof(*o))
		bad = ((char *)o)[o->size - 1] != (char)o->size;
	free(o);
	return bad;
}

static void *thread(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	unsigned long made = 0, bad = 0;
	struct tab *open[OPEN] = { NULL }, *other;

	for (unsigned int n = 0; n < tabs + OPEN; n++) {
		struct tab **t = &open[n % OPEN];

		if (*t) {
			other = __atomic_exchange_n(&mailbox, *t, __ATOMIC_ACQ_REL);
			for (unsigned int i = 0; other && i < OBJECTS; i++)
				bad += destroy(other->object[i]);
			free(other);
			*t = NULL;
		}
		if (n >= tabs)
			continue;
		*t = malloc(sizeof(**t));
		for (unsigned int i = 0; i < OBJECTS; i++)
			(*t)->object[i] = create(&state);
		made += OBJECTS;
		for (unsigned int i = 0; i < OBJECTS; i++) {
			struct tab *some = open[rnd(&state) % OPEN];
			struct object **o;

			if (!some)
				continue;
			o = &some->object[rnd(&state) % OBJECTS];
			bad += destroy(*o);
			*o = create(&state);
			made++;
		}
	}
	__atomic_fetch_add(&total, made, __ATOMIC_RELAXED);
	__atomic_fetch_add(&damaged, bad, __ATOMIC_RELAXED);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id[64];

	threads = argc > 1 ? atoi(argv[1]) : 0;
	tabs = argc > 2 ? atoi(argv[2]) : 0;
	if (argc != 3 || !threads || threads > 64 || !tabs) {
		fprintf(stderr, "usage: churn THREADS TABS\n");
		return 2;
	}
	for (uintptr_t i = 0; i < threads; i++)
		if (pthread_create(&id[i], NULL, thread, (void *)(i + 1)))
			abort();
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	printf("churn objects=%lu damaged=%lu\n", total, damaged);
	return damaged ? 1 : 0;
}
