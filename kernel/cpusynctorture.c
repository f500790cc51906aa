// SPDX-License-Identifier: GPL-2.0
/*
 * Torture test, and timings, of the CPU rendezvous, kernel/cpusync.c.
 *
 * Every CPU has a thread that runs functions on random CPUs, holds them, adds
 * others and lets them go, while
 *
 *  - two threads close the cycle that a hold must not be caught in: one spins
 *    for a lock with interrupts off, the other one has it with interrupts on
 *  - threads storm the CPUs with ordinary function calls
 *  - CPUs go offline and come back, and are asked for backtraces by NMI.
 *
 * The handler knows what it has to find: its CPU was asked for and has not run
 * it yet, the hold has ended, and what was stored before is there. Whoever holds
 * CPUs looks whether they stand still and hold nobody themselves. Nothing is said
 * while CPUs are held: faults are counted, and judged at the end.
 *
 * It ends by itself after @rendezvous of them, and fails if it has not after
 * @test_secs; with rendezvous=0 it goes on until then.
 */

#define pr_fmt(fmt) fmt

#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/cpusync.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/nmi.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>
#include <linux/torture.h>
#include <trace/events/ipi.h>

MODULE_DESCRIPTION("Torture tests and timings of the CPU rendezvous");
MODULE_LICENSE("GPL");

torture_param(int, holdoff, 0, "Time before the test starts (s)");
torture_param(int, hold_us, 20, "Longest time that CPUs are held, at random (us)");
torture_param(int, irqoff_us, 200, "Longest time that the lock is kept (us), 0=no locks");
torture_param(bool, misuse, false,
	      "Ask for a hold and for a call with interrupts off, instead of the torture test");
torture_param(int, nmi_interval, 5, "Time between NMI backtraces (s), 0=disable");
torture_param(int, nthreads, IS_BUILTIN(CONFIG_CPUSYNC_TORTURE_TEST) ? 0 : -1,
	      "# of initiators, -1 for one per online CPU, 0=disable");
torture_param(int, onoff_holdoff, 0, "Time after boot before CPU hotplugs (s)");
torture_param(int, onoff_interval, 0, "Time between CPU hotplugs (jiffies), 0=disable");
torture_param(int, rendezvous, 100000, "# of rendezvous to make, 0=as many as come");
torture_param(int, share, 0, "Holds that have to succeed, in percent of those tried (0=some)");
torture_param(int, stat_interval, 60, "Number of seconds between stats printk()s");
torture_param(int, storm, 1, "# of threads that call functions everywhere");
torture_param(int, stutter, 0, "Number of jiffies to run/halt test, 0=disable");
torture_param(int, test_secs, 600, "Give up after that time (s)");
torture_param(int, timing, 0, "# of repetitions of the timings instead of the torture test");
torture_param(int, timing_calls, 400, "# of calls in a repetition");
torture_param(int, verbose, 0, "Enable verbose debugging printk()s");

static char *torture_type = "cpusync";

enum invoker_state { NOTHING, ASKED, RELEASED };

/* Of an initiator. The handler reads all of it, and writes @ran. */
struct invoker {
	struct task_struct	*task;
	int			cpu;
	int			state;
	unsigned long		seq;		/* stored before CPUs are asked */
	unsigned long		message;	/* and while they are held */
	cpumask_var_t		mask;		/* whom it is for */
	cpumask_var_t		sure;		/* those of them that cannot be left out */
	cpumask_var_t		more;
	unsigned int		*ran;		/* [nr_cpu_ids] */
	unsigned long		*turns;		/* [nr_cpu_ids] */

	/* What counts as a rendezvous has another CPU in it. */
	unsigned long		alone;
	unsigned long		simple;
	unsigned long		held;
	unsigned long		added;
	unsigned long		backed_out;
	unsigned long		add_backed_out;
};

/* What can be wrong, and how often it was. */
enum fault {
	WRONG_CPU, RAN_EARLY, RAN_TWICE, NOT_RUN, NOT_SEEN, IRQS_ON, NOT_HELD,
	MOVED, BOTH_HOLD, LOST, REFUSED, NOT_RESTORED, NR_FAULTS
};

static const char * const fault_names[NR_FAULTS] = {
	[WRONG_CPU]	= "wrong_cpu",		/* ran where it was not asked to */
	[RAN_EARLY]	= "ran_early",		/* before the release, or after a back-out */
	[RAN_TWICE]	= "ran_twice",
	[NOT_RUN]	= "not_run",
	[NOT_SEEN]	= "not_seen",		/* what was stored before */
	[IRQS_ON]	= "irqs_on",
	[NOT_HELD]	= "not_held",		/* was asked for, and online */
	[MOVED]		= "moved",		/* while it was held */
	[BOTH_HOLD]	= "both_hold",
	[LOST]		= "lost",
	[REFUSED]	= "refused",
	[NOT_RESTORED]	= "not_restored",	/* the caller's context */
};

static atomic_t faults[NR_FAULTS];

static struct invoker *invokers;
static struct task_struct **storms;
static struct task_struct *lock_tasks[2];
static struct task_struct *nmi_task, *stats_task, *end_task, *timing_task;
static atomic_long_t nr_storms, nr_locks, nr_nmis;
static int nr_invokers, nr_storm_tasks;
static atomic_t finished;

static DEFINE_RAW_SPINLOCK(torture_lock);
static DEFINE_PER_CPU(unsigned long, torture_turns);
static DEFINE_PER_CPU(bool, torture_holds);

static void fault(enum fault f)
{
	atomic_inc(&faults[f]);
}

static bool one_in(struct torture_random_state *rand, unsigned long n)
{
	return !(torture_random(rand) % n);
}

/* Who spins here moves, unless it is held. */
static void spin_ns(u64 ns)
{
	u64 begin = ktime_get_mono_fast_ns();

	do {
		this_cpu_inc(torture_turns);
		cpu_relax();
	} while (ktime_get_mono_fast_ns() - begin < ns);
}

static void handler(void *info)
{
	int cpu = smp_processor_id();
	struct invoker *i = info;

	if (READ_ONCE(i->state) != RELEASED)
		fault(RAN_EARLY);
	if (!cpumask_test_cpu(cpu, i->mask))
		fault(WRONG_CPU);
	if (READ_ONCE(i->message) != READ_ONCE(i->seq))
		fault(NOT_SEEN);
	if (!irqs_disabled())
		fault(IRQS_ON);
	WRITE_ONCE(i->ran[cpu], i->ran[cpu] + 1);
}

static void random_mask(struct torture_random_state *rand, struct cpumask *mask)
{
	unsigned int density = torture_random(rand) % 8;
	int cpu;

	cpumask_clear(mask);
	for_each_possible_cpu(cpu)
		if (torture_random(rand) % 8 <= density)
			cpumask_set_cpu(cpu, mask);
}

/* All that stay online as long as preemption is off. */
static void be_sure(struct invoker *i, const struct cpumask *mask)
{
	lockdep_assert_preemption_disabled();
	cpumask_and(i->sure, mask, cpu_online_mask);
}

static void ask(struct invoker *i, enum invoker_state state)
{
	memset(i->ran, 0, nr_cpu_ids * sizeof(*i->ran));
	WRITE_ONCE(i->seq, i->seq + 1);
	if (state == RELEASED)
		WRITE_ONCE(i->message, i->seq);
	WRITE_ONCE(i->state, state);
}

/* It was not more than once for those of @mask, and once for those of @sure. */
static void check_runs(struct invoker *i)
{
	int cpu;

	WRITE_ONCE(i->state, NOTHING);
	for_each_possible_cpu(cpu) {
		unsigned int ran = READ_ONCE(i->ran[cpu]);

		if (ran > 1)
			fault(RAN_TWICE);
		if (!ran && cpumask_test_cpu(cpu, i->sure))
			fault(NOT_RUN);
	}
}

static unsigned long all_runs(struct invoker *i)
{
	unsigned long n = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		n += READ_ONCE(i->ran[cpu]);
	return n;
}

static void one_simple(struct invoker *i, struct torture_random_state *rand)
{
	bool sure = one_in(rand, 2);
	int cpu;

	random_mask(rand, i->mask);
	ask(i, RELEASED);
	cpumask_clear(i->sure);
	if (sure) {
		preempt_disable();
		be_sure(i, i->mask);
	}
	cpu = raw_smp_processor_id();
	cpusync_simple(i->mask, NULL, handler, i);
	if (sure)
		preempt_enable();
	check_runs(i);
	if (all_runs(i) > i->ran[cpu])
		i->simple++;
	else
		i->alone++;
}

/* All are there, they stand still, nobody has run anything, or holds others. */
static void check_held(struct invoker *i, struct cpusync *cs, u64 ns)
{
	const struct cpumask *held = cpusync_held_mask(cs);
	int cpu, me = smp_processor_id();

	if (!irqs_disabled())
		fault(IRQS_ON);
	this_cpu_write(torture_holds, true);
	smp_mb(); /* Of two that hold each other one sees it. */
	for_each_cpu(cpu, i->sure)
		if (cpu != me && !cpumask_test_cpu(cpu, held))
			fault(NOT_HELD);
	for_each_cpu(cpu, held) {
		if (!cpumask_test_cpu(cpu, i->mask) || cpu == me)
			fault(WRONG_CPU);
		if (READ_ONCE(per_cpu(torture_holds, cpu)))
			fault(BOTH_HOLD);
		i->turns[cpu] = READ_ONCE(per_cpu(torture_turns, cpu));
	}
	spin_ns(ns);
	for_each_cpu(cpu, held)
		if (READ_ONCE(per_cpu(torture_turns, cpu)) != i->turns[cpu])
			fault(MOVED);
	if (all_runs(i))
		fault(RAN_EARLY);
}

static void one_hold(struct invoker *i, struct torture_random_state *rand)
{
	bool locked = irqoff_us > 0 && one_in(rand, 16), again = one_in(rand, 4);
	u64 ns = torture_random(rand) % (hold_us * NSEC_PER_USEC + 1);
	struct cpusync cs;
	int err, err_again = 0, preempt;

	random_mask(rand, i->mask);
	random_mask(rand, i->more);
	ask(i, ASKED);
	cpusync_init(&cs, NULL, handler, i);

	preempt_disable();
	if (locked)
		raw_spin_lock(&torture_lock);
	preempt = preempt_count();
	be_sure(i, i->mask);
	err = cpusync_interlock(&cs, i->mask);
	if (!err) {
		check_held(i, &cs, ns);
		if (again) {
			/* Interrupts are on in between: others may hold this CPU. */
			this_cpu_write(torture_holds, false);
			cpumask_or(i->mask, i->mask, i->more);
			be_sure(i, i->mask);
			err_again = cpusync_interlock(&cs, i->mask);
			if (err_again >= 0)
				check_held(i, &cs, ns);
		}
	}
	if (cpusync_held(&cs)) {
		WRITE_ONCE(i->message, i->seq);
		WRITE_ONCE(i->state, RELEASED);
		this_cpu_write(torture_holds, false);
		if (cpusync_deinterlock(&cs))
			fault(LOST);
		cpumask_copy(i->sure, cpusync_held_mask(&cs));
		if (cpumask_empty(i->sure))
			i->alone++;
		else
			i->held++;
		if (cpumask_test_cpu(smp_processor_id(), i->mask))
			cpumask_set_cpu(smp_processor_id(), i->sure);
		cpumask_copy(i->mask, i->sure);
		i->added += err_again == 1;
	} else {
		WRITE_ONCE(i->state, NOTHING);
		cpumask_clear(i->sure);
		cpumask_clear(i->mask);
	}
	if (irqs_disabled() || preempt_count() != preempt)
		fault(NOT_RESTORED);
	if (locked)
		raw_spin_unlock(&torture_lock);
	preempt_enable();

	if (err == -EAGAIN)
		i->backed_out++;
	else if (err_again == -EAGAIN)
		i->add_backed_out++;
	else if (err || err_again < 0)
		fault(REFUSED);
	if (err < 0 || err_again < 0) {
		/* Let kicks come late. */
		spin_ns(torture_random(rand) % (50 * NSEC_PER_USEC));
		if (all_runs(i))
			fault(RAN_EARLY);
	}
	check_runs(i);
}

static void go_to(int cpu)
{
	/* It may be offline. */
	set_cpus_allowed_ptr(current, cpumask_of(cpu));
}

static int some_online_cpu(struct torture_random_state *rand)
{
	int cpu;

	cpus_read_lock();
	cpu = cpumask_nth(torture_random(rand) % num_online_cpus(), cpu_online_mask);
	cpus_read_unlock();
	return cpu;
}

static int cpusync_invoker(void *arg)
{
	DEFINE_TORTURE_RANDOM(rand);
	struct invoker *i = arg;
	unsigned int n = 0;

	schedule_timeout_interruptible(holdoff * HZ);
	go_to(i->cpu);
	while (!torture_must_stop()) {
		if (IS_ENABLED(CONFIG_PREEMPT_RT) || one_in(&rand, 2))
			one_simple(i, &rand);
		else
			one_hold(i, &rand);
		spin_ns(torture_random(&rand) % (20 * NSEC_PER_USEC));
		if (!(++n % 128)) {
			go_to(i->cpu);
			schedule_timeout_interruptible(1);
		}
		cond_resched();
		stutter_wait("cpusync_invoker");
	}
	torture_kthread_stopping("cpusync_invoker");
	return 0;
}

/* Has it with interrupts on, so that it can be held. */
static int cpusync_lock_holder(void *unused)
{
	DEFINE_TORTURE_RANDOM(rand);
	unsigned int n = 0;

	schedule_timeout_interruptible(holdoff * HZ);
	while (!torture_must_stop()) {
		if (!(n++ % 64))
			go_to(some_online_cpu(&rand));
		raw_spin_lock(&torture_lock);
		spin_ns(torture_random(&rand) % (irqoff_us * NSEC_PER_USEC));
		raw_spin_unlock(&torture_lock);
		usleep_range(200, 1000);
	}
	torture_kthread_stopping("cpusync_lock_holder");
	return 0;
}

/* Wants it with interrupts off, so that it cannot. */
static int cpusync_lock_waiter(void *unused)
{
	DEFINE_TORTURE_RANDOM(rand);
	unsigned int n = 0;

	schedule_timeout_interruptible(holdoff * HZ);
	while (!torture_must_stop()) {
		if (!(n++ % 64))
			go_to(some_online_cpu(&rand));
		local_irq_disable();
		raw_spin_lock(&torture_lock);
		atomic_long_inc(&nr_locks);
		raw_spin_unlock(&torture_lock);
		local_irq_enable();
		usleep_range(200, 1000);
	}
	torture_kthread_stopping("cpusync_lock_waiter");
	return 0;
}

static void storm_handler(void *unused)
{
	atomic_long_inc(&nr_storms);
}

static int cpusync_storm(void *unused)
{
	DEFINE_TORTURE_RANDOM(rand);
	bool wait;

	schedule_timeout_interruptible(holdoff * HZ);
	while (!torture_must_stop()) {
		wait = one_in(&rand, 2);
		if (one_in(&rand, 2)) {
			preempt_disable();
			smp_call_function_many(cpu_online_mask, storm_handler, NULL, wait);
			preempt_enable();
		} else {
			smp_call_function_single(some_online_cpu(&rand), storm_handler,
						 NULL, wait);
		}
		this_cpu_inc(torture_turns);
		usleep_range(50, 500);
	}
	torture_kthread_stopping("cpusync_storm");
	return 0;
}

static int cpusync_nmi(void *unused)
{
	DEFINE_TORTURE_RANDOM(rand);

	schedule_timeout_interruptible(holdoff * HZ);
	while (!torture_must_stop()) {
		if (trigger_single_cpu_backtrace(some_online_cpu(&rand)))
			atomic_long_inc(&nr_nmis);
		schedule_timeout_interruptible(nmi_interval * HZ);
	}
	torture_kthread_stopping("cpusync_nmi");
	return 0;
}

/*
 * Timings: what a rendezvous costs, from the call to its completion, next to the
 * least that there could be and to stop_machine(). All other CPUs are busy. Kinds
 * take turns, call by call, so that what else goes on is the same for all.
 */
#define FOLDED	8

static struct cpumask timing_mask;	/* the others */
static unsigned int timing_ipis, timing_backouts;
static bool timing_done, no_memory;

static void do_nothing(void *unused)
{
}

static int stopped(void *unused)
{
	return 0;
}

static void call_bare(void)
{
	preempt_disable();
	smp_call_function_many(&timing_mask, do_nothing, NULL, true);
	preempt_enable();
}

static void call_simple(void)
{
	cpusync_simple(&timing_mask, NULL, do_nothing, NULL);
}

/* As often as it takes, since that is what a user would pay for. */
static void hold_times(int n)
{
	struct cpusync cs;
	int err;

	do {
		cpusync_init(&cs, NULL, do_nothing, NULL);
		err = cpusync_interlock(&cs, &timing_mask);
		if (!err && n > 1)
			n--;
		while (!err && n-- > 1)
			err = cpusync_interlock(&cs, &timing_mask);
		timing_backouts += err == -EAGAIN;
	} while (err == -EAGAIN && !torture_must_stop());
	if (cpusync_held(&cs))
		cpusync_deinterlock(&cs);
}

static void call_hold(void)
{
	hold_times(1);
}

static void call_folded(void)
{
	hold_times(FOLDED);
}

static void call_apart(void)
{
	int n;

	for (n = 0; n < FOLDED; n++)
		call_simple();
}

static void call_stop_machine(void)
{
	stop_machine(stopped, NULL, cpu_online_mask);
}

static const struct {
	const char	*name;
	void		(*call)(void);
	unsigned int	part;		/* of @timing_calls: one in so many */
} timing_kinds[] = {
	{ "bare",		call_bare,		1 },
	{ "simple",		call_simple,		1 },
	{ "hold",		call_hold,		1 },
	{ "folded8",		call_folded,		4 },
	{ "apart8",		call_apart,		4 },
	{ "stop_machine",	call_stop_machine,	4 },
};

struct sample {
	u32	ns[ARRAY_SIZE(timing_kinds)];
};

static void note_ipi(void *unused, unsigned int cpu, unsigned long callsite, void *callback)
{
	if (current == timing_task && callback)
		timing_ipis++;
}

static void note_ipis(void *unused, const struct cpumask *cpus, unsigned long callsite,
		      void *callback)
{
	if (current == timing_task && callback)
		timing_ipis += cpumask_weight(cpus);
}

static int cmp_ns(const void *a, const void *b)
{
	return *(const u32 *)a < *(const u32 *)b ? -1 : *(const u32 *)a > *(const u32 *)b;
}

static int cpusync_busy(void *unused)
{
	while (!torture_must_stop()) {
		spin_ns(NSEC_PER_USEC);
		cond_resched();
	}
	torture_kthread_stopping("cpusync_busy");
	return 0;
}

static void time_kinds(int rep, struct sample *samples, u32 *column)
{
	unsigned int backouts = timing_backouts, n, k, nr;
	u64 begin;

	for (n = 0; n < timing_calls; n++) {
		for (k = 0; k < ARRAY_SIZE(timing_kinds); k++) {
			if (n % timing_kinds[k].part)
				continue;
			begin = ktime_get_mono_fast_ns();
			timing_kinds[k].call();
			samples[n].ns[k] = min_t(u64, ktime_get_mono_fast_ns() - begin, U32_MAX);
		}
		cond_resched();
	}
	for (k = 0; k < ARRAY_SIZE(timing_kinds); k++) {
		for (n = 0, nr = 0; n < timing_calls; n += timing_kinds[k].part)
			column[nr++] = samples[n].ns[k];
		sort(column, nr, sizeof(*column), cmp_ns, NULL);
		pr_alert("cpusync-timing: cpus=%u rep=%d kind=%s n=%u median_ns=%u p90_ns=%u min_ns=%u\n",
			 num_online_cpus(), rep, timing_kinds[k].name, nr, column[nr / 2],
			 column[nr * 9 / 10], column[0]);
	}
	pr_alert("cpusync-timing: cpus=%u rep=%d holds=%d backouts=%u\n", num_online_cpus(), rep,
		 timing_calls + timing_calls / 4, timing_backouts - backouts);
}

/* Apart from the timings: looking costs time. */
static void count_ipis(int rep)
{
	unsigned int k, n;

	if (register_trace_ipi_send_cpu(note_ipi, NULL))
		return;
	if (register_trace_ipi_send_cpumask(note_ipis, NULL))
		goto out;
	for (k = 0; k < ARRAY_SIZE(timing_kinds); k++) {
		timing_ipis = 0;
		for (n = 0; n < 100; n++)
			timing_kinds[k].call();
		pr_alert("cpusync-timing: cpus=%u rep=%d kind=%s calls=%u ipis=%u\n",
			 num_online_cpus(), rep, timing_kinds[k].name, n, timing_ipis);
	}
	unregister_trace_ipi_send_cpumask(note_ipis, NULL);
out:
	unregister_trace_ipi_send_cpu(note_ipi, NULL);
	tracepoint_synchronize_unregister();
}

static int cpusync_timing(void *unused)
{
	int n, cpu, nr_busy = 0, rep = 0;
	struct task_struct **busy;
	struct sample *samples;
	u32 *column;

	schedule_timeout_interruptible(holdoff * HZ);
	samples = kvcalloc(timing_calls, sizeof(*samples), GFP_KERNEL);
	column = kvcalloc(timing_calls, sizeof(*column), GFP_KERNEL);
	busy = kzalloc_objs(*busy, nr_cpu_ids);
	if (!samples || !column || !busy) {
		TOROUT_ERRSTRING("out of memory");
		WRITE_ONCE(no_memory, true);
		goto out;
	}

	cpus_read_lock();
	go_to(cpumask_first(cpu_online_mask));
	cpumask_andnot(&timing_mask, cpu_online_mask, cpumask_of(task_cpu(current)));
	for_each_cpu(cpu, &timing_mask) {
		busy[nr_busy] = kthread_run_on_cpu(cpusync_busy, NULL, cpu, "cpusync_busy/%u");
		if (!IS_ERR(busy[nr_busy]))
			nr_busy++;
	}
	cpus_read_unlock();	/* stop_machine() takes it. */
	schedule_timeout_uninterruptible(HZ / 10);
	for (rep = 1; rep <= timing && !torture_must_stop(); rep++) {
		time_kinds(rep, samples, column);
		count_ipis(rep);
	}
	for (n = 0; n < nr_busy; n++)
		kthread_stop(busy[n]);
out:
	kvfree(samples);
	kvfree(column);
	kfree(busy);
	WRITE_ONCE(timing_done, rep > timing);
	torture_kthread_stopping("cpusync_timing");
	return 0;
}

static unsigned long sum_up(struct invoker *all)
{
	int n;

	memset(all, 0, sizeof(*all));
	for (n = 0; invokers && n < nr_invokers; n++) {
		all->alone += READ_ONCE(invokers[n].alone);
		all->simple += READ_ONCE(invokers[n].simple);
		all->held += READ_ONCE(invokers[n].held);
		all->added += READ_ONCE(invokers[n].added);
		all->backed_out += READ_ONCE(invokers[n].backed_out);
		all->add_backed_out += READ_ONCE(invokers[n].add_backed_out);
	}
	return all->simple + all->held;
}

/* Return: the number of faults. */
static unsigned int print_stats(void)
{
	unsigned int n = 0, count;
	struct invoker all;
	char text[256] = "";
	int f, len = 0;

	for (f = 0; f < NR_FAULTS; f++) {
		count = atomic_read(&faults[f]);
		if (count)
			len += scnprintf(text + len, sizeof(text) - len, " %s %u",
					 fault_names[f], count);
		n += count;
	}
	sum_up(&all);
	pr_alert("cpusync-torture: simple %lu held %lu added %lu backed_out %lu add_backed_out %lu alone %lu locks %ld storms %ld nmis %ld faults%s\n",
		 all.simple, all.held, all.added, all.backed_out, all.add_backed_out, all.alone,
		 atomic_long_read(&nr_locks), atomic_long_read(&nr_storms),
		 atomic_long_read(&nr_nmis), n ? text : " none");
	pr_alert("cpusync-torture: ");
	torture_onoff_stats();
	return n;
}

static int cpusync_stats(void *unused)
{
	do {
		schedule_timeout_interruptible(stat_interval * HZ);
		print_stats();
	} while (!torture_must_stop());
	torture_kthread_stopping("cpusync_stats");
	return 0;
}

static void print_params(const char *tag)
{
	pr_alert("cpusync-torture: --- %s: nthreads=%d holdoff=%d hold_us=%d irqoff_us=%d nmi_interval=%d onoff_holdoff=%d onoff_interval=%d rendezvous=%d share=%d storm=%d stutter=%d test_secs=%d timing=%d verbose=%d\n",
		 tag, nthreads, holdoff, hold_us, irqoff_us, nmi_interval, onoff_holdoff,
		 onoff_interval, rendezvous, share, storm, stutter, test_secs, timing, verbose);
}

static void free_invokers(void)
{
	int n;

	for (n = 0; invokers && n < nr_invokers; n++) {
		free_cpumask_var(invokers[n].mask);
		free_cpumask_var(invokers[n].sure);
		free_cpumask_var(invokers[n].more);
		kfree(invokers[n].ran);
		kfree(invokers[n].turns);
	}
	kfree(invokers);
	kfree(storms);
	invokers = NULL;
	storms = NULL;
}

/* From whoever comes first: the end of the test, or of the module. */
static void finish(void)
{
	const char *verdict = "SUCCESS";
	unsigned long done, tried;
	unsigned int nr_faults;
	struct invoker all;
	int n;

	if (atomic_xchg(&finished, 1) || torture_cleanup_begin())
		return;

	torture_stop_kthread(cpusync_timing, timing_task);
	torture_stop_kthread(cpusync_nmi, nmi_task);
	for (n = 0; invokers && n < nr_invokers; n++)
		torture_stop_kthread(cpusync_invoker, invokers[n].task);
	for (n = 0; storms && n < nr_storm_tasks; n++)
		torture_stop_kthread(cpusync_storm, storms[n]);
	torture_stop_kthread(cpusync_lock_waiter, lock_tasks[1]);
	torture_stop_kthread(cpusync_lock_holder, lock_tasks[0]);
	torture_stop_kthread(cpusync_stats, stats_task);

	if (READ_ONCE(no_memory)) {
		verdict = "FAILURE (out of memory)";
	} else if (invokers) {
		/* Kicks that come late find an empty mailbox, or were run by now. */
		on_each_cpu(storm_handler, NULL, 1);
		for (n = 0; n < nr_invokers; n++)
			check_runs(&invokers[n]);
		nr_faults = print_stats();
		done = sum_up(&all);
		tried = all.held + all.backed_out + all.add_backed_out;
		if (nr_faults)
			verdict = "FAILURE";
		else if (torture_onoff_failures())
			verdict = "FAILURE (hotplug)";
		else if (done < rendezvous)
			verdict = "FAILURE (too few rendezvous)";
		else if (all.held * 100 < tried * share || (tried && !all.held))
			verdict = "FAILURE (too few holds)";
	} else if (!READ_ONCE(timing_done)) {
		verdict = "FAILURE (too slow)";
	}
	pr_alert("cpusync-torture: --- End of test: %s\n", verdict);
	print_params("Parameters");
	free_invokers();
	torture_cleanup_end();
}

static int cpusync_end(void *unused)
{
	unsigned long end = jiffies + (holdoff + test_secs) * HZ;
	struct invoker all;

	while (!torture_must_stop()) {
		schedule_timeout_interruptible(HZ / 4);
		if (time_before(jiffies, end) && !READ_ONCE(timing_done) && !READ_ONCE(no_memory) &&
		    (timing > 0 || !rendezvous || sum_up(&all) < rendezvous))
			continue;
		finish();
		break;
	}
	torture_kthread_stopping("cpusync_end");
	return 0;
}

static int __init start_torture(void)
{
	struct invoker *i;
	int n, err;

	nr_invokers = nthreads < 0 ? num_online_cpus() : nthreads;
	invokers = kzalloc_objs(*invokers, nr_invokers);
	storms = kzalloc_objs(*storms, storm > 0 ? storm : 1);
	if (!invokers || !storms)
		goto no_memory;
	for (n = 0; n < nr_invokers; n++) {
		i = &invokers[n];
		cpus_read_lock();
		i->cpu = cpumask_nth(n % num_online_cpus(), cpu_online_mask);
		cpus_read_unlock();
		i->ran = kzalloc_objs(*i->ran, nr_cpu_ids);
		i->turns = kzalloc_objs(*i->turns, nr_cpu_ids);
		if (!i->ran || !i->turns || !zalloc_cpumask_var(&i->mask, GFP_KERNEL) ||
		    !zalloc_cpumask_var(&i->sure, GFP_KERNEL) ||
		    !zalloc_cpumask_var(&i->more, GFP_KERNEL))
			goto no_memory;
	}

	if (onoff_interval > 0) {
		err = torture_onoff_init(onoff_holdoff * HZ, onoff_interval, NULL);
		if (torture_init_error(err))
			return err;
	}
	if (stutter > 0) {
		err = torture_stutter_init(stutter, stutter);
		if (torture_init_error(err))
			return err;
	}
	for (n = 0; n < nr_invokers; n++) {
		err = torture_create_kthread(cpusync_invoker, &invokers[n], invokers[n].task);
		if (torture_init_error(err))
			return err;
	}
	for (n = 0; n < storm; n++, nr_storm_tasks++) {
		err = torture_create_kthread(cpusync_storm, NULL, storms[n]);
		if (torture_init_error(err))
			return err;
	}
	if (irqoff_us > 0) {
		err = torture_create_kthread(cpusync_lock_holder, NULL, lock_tasks[0]);
		if (torture_init_error(err))
			return err;
		err = torture_create_kthread(cpusync_lock_waiter, NULL, lock_tasks[1]);
		if (torture_init_error(err))
			return err;
	}
	if (nmi_interval > 0) {
		err = torture_create_kthread(cpusync_nmi, NULL, nmi_task);
		if (torture_init_error(err))
			return err;
	}
	if (stat_interval > 0) {
		err = torture_create_kthread(cpusync_stats, NULL, stats_task);
		if (torture_init_error(err))
			return err;
	}
	return 0;

no_memory:
	WRITE_ONCE(no_memory, true);
	return -ENOMEM;
}

/*
 * What no caller may do, since the CPU that it waits for may be waiting for it.
 * A warning has to come of both, and what was asked for when nobody else does.
 */
static void __init misuse_cpusync(void)
{
	struct cpusync cs;
	int err;

	cpusync_init(&cs, NULL, do_nothing, NULL);
	local_irq_disable();
	err = cpusync_interlock(&cs, cpu_online_mask);
	cpusync_simple(cpu_online_mask, NULL, do_nothing, NULL);
	local_irq_enable();
	pr_alert("cpusync-torture: with interrupts off: %pe\n", ERR_PTR(err));
}

static int __init cpusync_torture_init(void)
{
	int err;

	if (misuse) {
		misuse_cpusync();
		return 0;
	}
	if (hold_us < 0 || irqoff_us < 0 || timing_calls < 1) {
		pr_err("cpusync-torture: hold_us and irqoff_us from 0, timing_calls from 1\n");
		return -EINVAL;
	}
	if (!nthreads && timing <= 0)
		return 0;
	if (!torture_init_begin(torture_type, verbose))
		return -EBUSY;

	print_params("Start of test");
	if (timing > 0)
		err = torture_create_kthread(cpusync_timing, NULL, timing_task);
	else
		err = start_torture();
	if (!err)
		err = torture_create_kthread(cpusync_end, NULL, end_task);
	torture_init_end();
	if (err)
		finish();
	return err;
}

static void __exit cpusync_torture_exit(void)
{
	torture_stop_kthread(cpusync_end, end_task);
	if (!misuse && (nthreads || timing > 0))
		finish();
}

module_init(cpusync_torture_init);
module_exit(cpusync_torture_exit);
