// SPDX-License-Identifier: GPL-2.0
/*
 * What the controls of TLB invalidation accept, and that they can be turned
 * under load.
 *
 *   mode      pmap_inval= on the command line, x86/pmap_inval in debugfs
 *   budget    the module parameter cpusync.budget_us
 *   ceiling   x86/tlb_single_page_flush_ceiling in debugfs
 *   stats     cpusync/stats in debugfs, for reading only
 *
 * Whatever is not a value of a control must be an error, and must change
 * nothing. Then writers turn all of them at once, with garbage in between, and
 * ./hunt looks for stale translations meanwhile.
 *
 * The command line is judged if it has words that are not a mode, or not a
 * budget, after the last good one: each bad mode is named in the kernel log, and
 * the good one is in force.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/klog.h>
#include <sys/wait.h>

#include "kselftest.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define WRITERS		4
#define LOG_ALL		3	/* SYSLOG_ACTION_READ_ALL */
#define LOG_SIZE	10	/* SYSLOG_ACTION_SIZE_BUFFER */

#define TEXT(s)		{ s, sizeof(s) - 1 }

struct text {
	const char *s;
	size_t len;
};

struct control {
	const char *name;
	const char *path;
	struct text good[6];
	struct text bad[18];
};

static char lots[8192];		/* filled in main() */

static const struct control controls[] = {
	{ "mode", DEBUGFS "x86/pmap_inval",
	  { TEXT("off"), TEXT("hold\n"), TEXT("  on\t"), TEXT("on") },
	  { TEXT(""), TEXT("\n"), TEXT(" "), TEXT("o"), TEXT("onn"), TEXT("ON"),
	    TEXT("on off"), TEXT("on\noff"), TEXT("1"), TEXT("[on]"), TEXT("hold\n\n\n\n"),
	    TEXT("off....."), TEXT("\xff\xfe\n"), TEXT("\0on"), TEXT("on\0x"),
	    TEXT("%s%n") } },
	{ "budget", "/sys/module/cpusync/parameters/budget_us",
	  { TEXT("1"), TEXT("1000000\n"), TEXT("0x40"), TEXT("50") },
	  { TEXT("\n"), TEXT(" "), TEXT("0"), TEXT("-1"), TEXT("1000001"), TEXT("4294967297"),
	    TEXT("18446744073709551666"), TEXT("50us"), TEXT("5 0"), TEXT("0x"), TEXT("1e3"),
	    TEXT("\xff"), TEXT("\0x"), TEXT("%s%n") } },
	{ "ceiling", DEBUGFS "x86/tlb_single_page_flush_ceiling",
	  { TEXT("0"), TEXT("2147483647"), TEXT("1\n"), TEXT("33") },
	  { TEXT(""), TEXT("\n"), TEXT("-1"), TEXT("2147483648"), TEXT("33 33"), TEXT("x"),
	    TEXT("\xff"), TEXT("%s%n") } },
};

#define MODE	(&controls[0])

static atomic_bool stop;
static atomic_int turned, wrong;

/* Return: 0, or the error of the write. */
static int put(const char *path, const struct text *t, off_t at)
{
	int fd = open(path, O_WRONLY), err = 0;
	ssize_t n;

	if (fd < 0)
		return errno;
	n = at ? pwrite(fd, t->s, t->len, at) : write(fd, t->s, t->len);
	if (n < 0)
		err = errno;
	else if ((size_t)n != t->len)
		err = EIO;
	close(fd);
	return err;
}

static bool get(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n < 0 ? 0 : n] = 0;
	return n > 0;
}

/* For a line of the report. */
static const char *shown(const struct text *t)
{
	static char buf[64];
	size_t i, n = 0;

	if (!t->s)
		return "(bad address)";
	for (i = 0; i < t->len && n < sizeof(buf) - 8; i++) {
		unsigned char c = t->s[i];

		n += snprintf(buf + n, sizeof(buf) - n, isprint(c) ? "%c" : "\\x%02x", c);
	}
	snprintf(buf + n, sizeof(buf) - n, i < t->len ? "..." : "");
	return buf;
}

/* Does @buf, as read from @c, say @t? */
static bool says(const struct control *c, const char *buf, const struct text *t)
{
	char word[16] = "", want[20];

	if (c == MODE) {
		return sscanf(t->s, " %15s", word) == 1 &&
		       snprintf(want, sizeof(want), "[%s]", word) > 0 && strstr(buf, want);
	}
	return strtoul(buf, NULL, 0) == strtoul(t->s, NULL, 0);
}

static bool accepts(const struct control *c)
{
	char buf[128];
	bool ok = true;

	for (const struct text *t = c->good; t->s; t++) {
		int err = put(c->path, t, 0);

		if (err || !get(c->path, buf, sizeof(buf)) || !says(c, buf, t)) {
			ksft_print_msg("%s: '%s' is not taken: %s\n", c->name, shown(t),
				       strerror(err));
			ok = false;
		}
	}
	return ok;
}

static bool refused(const struct control *c, const struct text *t, off_t at, const char *before)
{
	char after[128];
	int err = put(c->path, t, at);

	if (err != EINVAL && err != ERANGE && !(err == EFAULT && !t->s)) {
		ksft_print_msg("%s: '%s' at %d: %s\n", c->name, shown(t), (int)at, strerror(err));
		return false;
	}
	if (!get(c->path, after, sizeof(after)) || strcmp(before, after)) {
		ksft_print_msg("%s: '%s' has changed it: %s", c->name, shown(t), after);
		return false;
	}
	return true;
}

/* Each with another good value in force. */
static bool refuses(const struct control *c)
{
	const struct text nowhere = { NULL, 3 }, long_text = { lots, sizeof(lots) };
	char before[128];
	bool ok = true;

	for (const struct text *g = c->good; g->s; g++) {
		if (put(c->path, g, 0) || !get(c->path, before, sizeof(before)))
			return false;
		for (const struct text *t = c->bad; t->s; t++)
			ok &= refused(c, t, 0, before);
		ok &= refused(c, &long_text, 0, before);
		if (c == MODE) {
			ok &= refused(c, &nowhere, 0, before);
			ok &= refused(c, &c->good[0], 1, before);
		}
	}
	return ok;
}

/* Only for reading; a byte at a time, too. */
static bool stats_are_read_only(void)
{
	const char *path = DEBUGFS "cpusync/stats";
	const struct text reset = TEXT("0\n");
	unsigned long n = 0, words = 0;
	int fd = open(path, O_RDONLY);
	char c = 0;

	if (fd < 0)
		return false;
	while (read(fd, &c, 1) == 1)
		words += isspace((unsigned char)c), n++;
	close(fd);
	return n > 100 && words > 28 && c == '\n' && put(path, &reset, 0);
}

/* Turns every control, two good values, then something else. */
static void *writer(void *arg)
{
	unsigned int seed = (unsigned long)arg + 1;
	char buf[128];

	while (!atomic_load(&stop)) {
		const struct control *c = &controls[rand_r(&seed) % ARRAY_SIZE(controls)];
		unsigned int n = 0;

		while (c->good[n].s)
			n++;
		if (put(c->path, &c->good[rand_r(&seed) % n], 0))
			atomic_fetch_add(&wrong, 1);
		for (n = 0; c->bad[n].s;)
			n++;
		if (!put(c->path, &c->bad[rand_r(&seed) % n], 0))
			atomic_fetch_add(&wrong, 1);
		/* Another writer may have been here: but it is one of three. */
		if (!get(MODE->path, buf, sizeof(buf)) ||
		    (strcmp(buf, "[off] on hold\n") && strcmp(buf, "off [on] hold\n") &&
		     strcmp(buf, "off on [hold]\n")))
			atomic_fetch_add(&wrong, 1);
		get(DEBUGFS "cpusync/stats", buf, sizeof(buf));
		atomic_fetch_add(&turned, 1);
		usleep(rand_r(&seed) % 3000);
	}
	return NULL;
}

/* Return: the exit status of the hunters beside @self, 0 if they found nothing. */
static int run_hunters(char *self)
{
	char path[4096];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/hunt", dirname(self));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl(path, path, "dontneed", "munmap", "mprotect-readonly", "dontneed-lazy",
		      NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static bool turned_under_load(char *self)
{
	pthread_t threads[WRITERS];
	long i, started;
	int found;

	for (started = 0; started < WRITERS; started++)
		if (pthread_create(&threads[started], NULL, writer, (void *)started))
			break;
	found = run_hunters(self);
	atomic_store(&stop, true);
	for (i = 0; i < started; i++)
		pthread_join(threads[i], NULL);

	ksft_print_msg("turned %d times, %d times wrong; hunters: %d\n", atomic_load(&turned),
		       atomic_load(&wrong), found);
	return started == WRITERS && !found && !atomic_load(&wrong) && atomic_load(&turned) > 100;
}

/* What is bad has its line in the log, and does not count. */
static void command_line(void)
{
	static const char * const name[] = { "pmap_inval=", "cpusync.budget_us=" };
	static const char * const said[] = { "'%.200s' is not a mode",
						 "`%.200s' invalid for parameter" };
	char line[4096] = "", mode[64], budget[64], want[256];
	char *log, *word, *rest = line;
	char last[2][16] = { "on", "50" };
	int bad = 0, named = 0, size;

	get("/proc/cmdline", line, sizeof(line));
	size = klogctl(LOG_SIZE, NULL, 0);
	log = calloc(1, size + 1);
	if (!log || klogctl(LOG_ALL, log, size) < 0 ||
	    !get(controls[0].path, mode, sizeof(mode)) ||
	    !get(controls[1].path, budget, sizeof(budget))) {
		ksft_test_result_fail("command line: no log, or no controls\n");
		return;
	}
	while ((word = strsep(&rest, "\n "))) {
		int what = strncmp(word, name[0], strlen(name[0])) ? 1 : 0;
		char *end, *value = word + strlen(name[what]);
		unsigned long n;

		if (strncmp(word, name[what], strlen(name[what])))
			continue;
		n = strtoul(value, &end, 0);
		if (what ? end != value && !*end && n >= 1 && n <= 1000000 :
			   !strcmp(value, "off") || !strcmp(value, "on") ||
			   !strcmp(value, "hold")) {
			snprintf(last[what], sizeof(last[what]), "%s", value);
			continue;
		}
		bad++;
		snprintf(want, sizeof(want), said[what], value);
		if (strstr(log, want))
			named++;
		else
			ksft_print_msg("not in the log: %s\n", want);
	}
	snprintf(want, sizeof(want), "[%s]", last[0]);
	if (!bad)
		ksft_test_result_skip("command line: all that it says is good\n");
	else
		ksft_test_result(named == bad && strstr(mode, want) &&
				 strtoul(budget, NULL, 0) == strtoul(last[1], NULL, 0),
				 "command line: of %d bad values %d are named, the rest counts\n",
				 bad, named);
	free(log);
}

int main(int argc, char **argv)
{
	char before[ARRAY_SIZE(controls)][128];
	int plan = 2 * ARRAY_SIZE(controls) + 3;

	ksft_print_header();
	if (argc != 1)
		ksft_exit_fail_msg("takes no arguments\n");
	if (access(MODE->path, W_OK))
		ksft_exit_skip("cannot write %s: root, and CONFIG_X86_PMAP_INVAL=y?\n", MODE->path);
	ksft_set_plan(plan);
	memset(lots, '3', sizeof(lots));

	command_line();
	for (unsigned int i = 0; i < ARRAY_SIZE(controls); i++)
		get(controls[i].path, before[i], sizeof(before[i]));
	for (unsigned int i = 0; i < ARRAY_SIZE(controls); i++) {
		ksft_test_result(accepts(&controls[i]), "%s takes what it says it does\n",
				 controls[i].name);
		ksft_test_result(refuses(&controls[i]), "%s refuses the rest, and stays\n",
				 controls[i].name);
	}
	ksft_test_result(stats_are_read_only(), "stats are for reading\n");
	ksft_test_result(turned_under_load(argv[0]),
			 "controls are turned while hunters run\n");

	/* The mode reads "off [on] hold". */
	for (unsigned int i = 0; i < ARRAY_SIZE(controls); i++) {
		char *word = strchr(before[i], '[');
		struct text t;

		t.s = word ? word + 1 : before[i];
		t.len = strcspn(t.s, "]\n");
		put(controls[i].path, &t, 0);
	}
	ksft_finished();
}
