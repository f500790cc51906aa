// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the CPU rendezvous, kernel/cpusync.c.
 *
 * The test runs on the first online CPU. Threads that are bound to the others
 * count turns: whoever is held does not count. A part of each turn is done with
 * interrupts off, where nobody can be held, and a thread can be told to stay
 * there: to a hold it is the CPU that does not come.
 *
 * The more CPUs the better: with 4 nothing is skipped.
 *
 * The law: never assert, expect, allocate or print while CPUs are held. Record,
 * release, then expect. hold() and let_go() look at the caller's context on the
 * way in and out, and the exit hook expects that they found no fault.
 *
 * All waiting is bounded. The budget is set to what a case needs, since virtual
 * CPUs can take longer to answer than anybody would want to wait in real life.
 */

#include <kunit/test.h>

#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/cpusync.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <trace/events/cpusync.h>
#include <trace/events/csd.h>

#define BUDGET_AMPLE	"1000000"	/* us: everybody comes */
#define BUDGET_SHORT	"100000"	/* who does not come is not waited for */
#define BUDGET_DUEL	"20000"
#define BUDGET_LATE	"400000"
#define TRIES		5
#define ROUNDS		20
#define PATIENCE	800		/* ms: for what happens at once; less than BUDGET_AMPLE */
#define OFF_AT_MOST	4000		/* ms: less than CSD lock debugging's 5 s */
#define THREADS_AT_MOST	60000		/* ms: a virtual CPU may have half a real one */

struct lab;

/*
 * What is known of one CPU. Written by that CPU, apart from @stay_off, @asked,
 * @kicks and @order.
 */
struct lab_cpu {
	struct lab	*lab;
	int		cpu;
	unsigned int	runs;		/* of the function, here */
	unsigned int	irqs_on;	/* runs with interrupts on: none */
	unsigned int	held;		/* runs as a CPU that is held */
	unsigned long	saw;		/* message that the last run found */
	unsigned long	turns;		/* of the thread on this CPU */
	unsigned long	begun;		/* differs from @turns with interrupts off */
	bool		stay_off;	/* the thread is to keep interrupts off */
	bool		is_off;		/* and does */
	unsigned int	asked;		/* the condition, about this CPU */
	unsigned int	kicks;		/* that the test has sent there */
	unsigned int	made;		/* holds of the initiator on this CPU */
	unsigned int	backed_out;
	unsigned int	served;		/* runs for the initiator on this CPU */
	int		order;		/* in which that initiator leaves */
};

struct lab {
	struct lab_cpu		*cpu;	/* [nr_cpu_ids] */
	struct task_struct	*task;	/* the test */
	struct cpumask		mask;
	unsigned long		message;
	int			left_out;
	unsigned int		asked_elsewhere;
	bool			kicked;

	/* What was traced last. */
	struct cpumask		absent;
	unsigned int		why;
	u64			wait_ns;
	u64			hold_ns;

	/* The caller's context: as hold() has found it, and faults found. */
	int			preempt;
	unsigned int		not_closed;	/* held, but interrupts or softirqs on */
	unsigned int		not_restored;

	/* Initiators against each other. */
	atomic_t		ready;		/* initiators that have begun */
	atomic_t		inside;
	atomic_t		wrong;
	atomic_t		done;
	atomic_t		together;
	int			nr;
	int			turn;

	/* A call that is queued for one CPU, and goes on later. */
	struct cpumask		called;
	bool			queued;
	bool			go_on;
};

static u64 now_ms(void)
{
	return ktime_get_mono_fast_ns() / NSEC_PER_MSEC;
}

/* For any context, held CPUs or not. */
#define happens_within(ms, what)				\
({								\
	u64 __end = now_ms() + (ms);				\
	bool __happened;					\
								\
	do {							\
		cpu_relax();					\
		__happened = (what);				\
	} while (!__happened && now_ms() < __end);		\
	__happened;						\
})

static void spend(unsigned int ms)
{
	happens_within(ms, false);
}

/* The n-th online CPU. The test is on number 0. */
static int nth(unsigned int n)
{
	return cpumask_nth(n, cpu_online_mask);
}

static struct lab_cpu *nth_cpu(struct lab *lab, unsigned int n)
{
	return &lab->cpu[nth(n)];
}

static void need_cpus(struct kunit *test, unsigned int n)
{
	if (num_online_cpus() < n)
		kunit_skip(test, "needs %u CPUs online, there are %u", n, num_online_cpus());
}

/* The budget, by way of its module parameter. */

static const struct kernel_param *budget_param(void)
{
	const struct kernel_param *kp;

	for (kp = __start___param; kp < __stop___param; kp++)
		if (!strcmp(kp->name, "cpusync.budget_us"))
			return kp;
	return NULL;
}

static int set_budget(const char *us)
{
	const struct kernel_param *kp = budget_param();
	int err;

	kernel_param_lock(kp->mod);
	err = kp->ops->set(us, kp);
	kernel_param_unlock(kp->mod);
	return err;
}

static void restore_budget(void *budget)
{
	set_budget(budget);
}

/* What held CPUs run, and what decides who is held. */

static void run_here(void *info)
{
	struct lab *lab = info;
	struct lab_cpu *c = &lab->cpu[smp_processor_id()];

	WRITE_ONCE(c->runs, c->runs + 1);
	c->irqs_on += !irqs_disabled();
	c->held += cpusync_this_cpu_held();
	c->saw = READ_ONCE(lab->message);
}

static bool not_left_out(int cpu, void *info)
{
	struct lab *lab = info;

	lab->cpu[cpu].asked++;
	lab->asked_elsewhere += current != lab->task;
	return cpu != lab->left_out;
}

static unsigned int all_runs(struct lab *lab)
{
	unsigned int n = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		n += READ_ONCE(lab->cpu[cpu].runs);
		n += lab->cpu[cpu].irqs_on;
	}
	return n;
}

static void forget_runs(struct lab *lab)
{
	int cpu;

	for_each_possible_cpu(cpu)
		lab->cpu[cpu].runs = 0;
}

/* Expect one run on each CPU of @mask, and none on the others. */
static void expect_one_run_each(struct kunit *test, const struct cpumask *mask)
{
	struct lab *lab = test->priv;
	int cpu;

	for_each_possible_cpu(cpu) {
		KUNIT_EXPECT_EQ_MSG(test, lab->cpu[cpu].runs, cpumask_test_cpu(cpu, mask),
				    "on CPU %d", cpu);
		KUNIT_EXPECT_EQ_MSG(test, lab->cpu[cpu].irqs_on, 0, "on CPU %d", cpu);
	}
}

/* Threads. */

static void stop_thread(void *task)
{
	kthread_stop_put(task);
}

static struct task_struct *run_on(struct kunit *test, int (*fn)(void *), int cpu)
{
	struct lab *lab = test->priv;
	struct task_struct *task;

	task = kthread_run_on_cpu(fn, &lab->cpu[cpu], cpu, "cpusync_kunit/%u");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_thread, task), 0);
	return task;
}

/* A thread on each of the first @n CPUs, until what they do is @finished. */
static void run_threads(struct kunit *test, int (*fn)(void *), unsigned int n,
			bool (*finished)(struct lab *lab))
{
	struct task_struct **tasks;
	unsigned int i;
	u64 end;

	tasks = kunit_kcalloc(test, n, sizeof(*tasks), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tasks);
	for (i = 0; i < n; i++)
		tasks[i] = run_on(test, fn, nth(i));

	end = now_ms() + THREADS_AT_MOST;
	do {
		msleep(20);
	} while (!finished(test->priv) && now_ms() < end);

	for (i = 0; i < n; i++)
		kunit_release_action(test, stop_thread, tasks[i]);
}

static int take_turns(void *arg)
{
	struct lab_cpu *c = arg;
	unsigned int i;

	while (!kthread_should_stop()) {
		local_irq_disable();
		WRITE_ONCE(c->begun, c->turns + 1);
		for (i = 0; i < 50; i++)
			cpu_relax();
		if (READ_ONCE(c->stay_off)) {
			WRITE_ONCE(c->is_off, true);
			happens_within(OFF_AT_MOST, !READ_ONCE(c->stay_off));
			WRITE_ONCE(c->is_off, false);
		}
		WRITE_ONCE(c->turns, c->begun);
		local_irq_enable();

		for (i = 0; i < 50; i++)
			cpu_relax();
		cond_resched();
	}
	return 0;
}

static bool turns_after(struct lab_cpu *c, unsigned long turns)
{
	/* The first may have begun before whatever it was. */
	return READ_ONCE(c->turns) - turns >= 2;
}

static bool moves(struct lab_cpu *c)
{
	unsigned long turns = READ_ONCE(c->turns);

	return happens_within(PATIENCE, turns_after(c, turns));
}

/* Keep the test's CPU free: it waits by spinning. */
static void start_others(struct kunit *test)
{
	unsigned int i;

	for (i = 1; i < num_online_cpus(); i++) {
		run_on(test, take_turns, nth(i));
		KUNIT_ASSERT_TRUE(test, moves(nth_cpu(test->priv, i)));
	}
}

/* Number of CPUs, of all but the test's and @but, whose thread does not move. */
static unsigned int stuck(struct lab *lab, int but)
{
	unsigned int i, n = 0;

	for (i = 1; i < num_online_cpus(); i++)
		if (nth(i) != but && !moves(nth_cpu(lab, i)))
			n++;
	return n;
}

static bool switch_off(struct lab_cpu *c)
{
	WRITE_ONCE(c->stay_off, true);
	return happens_within(PATIENCE, READ_ONCE(c->is_off));
}

static bool switch_on(struct lab_cpu *c)
{
	WRITE_ONCE(c->stay_off, false);
	return moves(c);
}

/* Kicks that the test sends. */

static void note_kick(void *data, const unsigned int cpu, unsigned long callsite,
		      smp_call_func_t func, call_single_data_t *csd)
{
	struct lab *lab = data;

	/* A thread that it wakes up is none. */
	if (current != lab->task || !in_task() ||
	    (csd->node.u_flags & CSD_FLAG_TYPE_MASK) == CSD_TYPE_TTWU)
		return;
	lab->cpu[cpu].kicks++;
	WRITE_ONCE(lab->kicked, true);
}

static void stop_noting_kicks(void *lab)
{
	unregister_trace_csd_queue_cpu(note_kick, lab);
	tracepoint_synchronize_unregister();
}

static void note_kicks(struct kunit *test)
{
	if (register_trace_csd_queue_cpu(note_kick, test->priv))
		kunit_skip(test, "needs tracepoints to see who is kicked");
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_noting_kicks, test->priv), 0);
}

static void forget_kicks(struct lab *lab)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		lab->cpu[cpu].kicks = 0;
		lab->cpu[cpu].asked = 0;
	}
	WRITE_ONCE(lab->kicked, false);
}

/* A hold that looks at what happens to the context of its caller. */

static void check_closed(struct lab *lab)
{
	if (!irqs_disabled() || !softirq_count() || preempt_count() == lab->preempt)
		lab->not_closed++;
}

static void check_restored(struct lab *lab)
{
	if (irqs_disabled() || preempt_count() != lab->preempt)
		lab->not_restored++;
}

/* Once; CPUs may not come. */
static int try_hold(struct lab *lab, struct cpusync *cs, const struct cpumask *mask)
{
	int err;

	if (!cpusync_held(cs))
		lab->preempt = preempt_count();
	err = cpusync_interlock(cs, mask);
	if (cpusync_held(cs))
		check_closed(lab);
	else
		check_restored(lab);
	return err;
}

/* For a hold that nothing but a busy host stands in the way of. */
static int hold(struct lab *lab, struct cpusync *cs, const struct cpumask *mask)
{
	unsigned int i;
	int err = -EAGAIN;

	for (i = 0; i < TRIES && err == -EAGAIN; i++) {
		forget_kicks(lab);
		err = try_hold(lab, cs, mask);
	}
	return err;
}

/* Whether there is something to let go, or the hold did not succeed. */
static void let_go(struct lab *lab, struct cpusync *cs)
{
	if (!cpusync_held(cs))
		return;
	cpusync_deinterlock(cs);
	check_restored(lab);
}

/* Nobody, one's own CPU, conditions */

static void empty_mask_holds_nobody(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int held, nr_stuck;
	struct cpusync cs;
	bool is_hold;
	int err;

	start_others(test);
	note_kicks(test);
	cpusync_init(&cs, NULL, run_here, lab);
	err = hold(lab, &cs, &lab->mask);
	is_hold = cpusync_held(&cs);
	held = is_hold ? cpumask_weight(cpusync_held_mask(&cs)) : 0;
	nr_stuck = stuck(lab, -1);
	let_go(lab, &cs);

	cpusync_simple(&lab->mask, NULL, run_here, lab);

	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_TRUE(test, is_hold);
	KUNIT_EXPECT_EQ(test, held, 0);
	KUNIT_EXPECT_EQ(test, nr_stuck, 0);
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
	KUNIT_EXPECT_FALSE(test, lab->kicked);
}

static void calling_cpu_in_or_out_of_mask(struct kunit *test)
{
	struct lab *lab = test->priv;
	int err, in, me = nth(0);
	struct cpusync cs;

	cpusync_init(&cs, NULL, run_here, lab);
	for (in = 0; in <= 1; in++) {
		cpumask_copy(&lab->mask, cpu_online_mask);
		if (!in)
			__cpumask_clear_cpu(me, &lab->mask);

		err = hold(lab, &cs, &lab->mask);
		let_go(lab, &cs);
		KUNIT_EXPECT_EQ(test, err, 0);
		expect_one_run_each(test, &lab->mask);
		forget_runs(lab);

		cpusync_simple(&lab->mask, NULL, run_here, lab);
		expect_one_run_each(test, &lab->mask);
		forget_runs(lab);
	}

	err = hold(lab, &cs, cpumask_of(me));
	let_go(lab, &cs);
	KUNIT_EXPECT_EQ(test, err, 0);
	expect_one_run_each(test, cpumask_of(me));
}

static void condition_limits_targets(struct kunit *test)
{
	struct lab *lab = test->priv;
	int err, cpu, me = nth(0);
	bool free = true, held;
	struct cpusync cs;

	need_cpus(test, 2);
	start_others(test);
	cpusync_init(&cs, not_left_out, run_here, lab);

	for_each_online_cpu(lab->left_out) {
		cpumask_copy(&lab->mask, cpu_online_mask);
		__cpumask_clear_cpu(lab->left_out, &lab->mask);

		forget_kicks(lab);
		cpusync_simple(cpu_online_mask, not_left_out, run_here, lab);
		expect_one_run_each(test, &lab->mask);
		for_each_online_cpu(cpu)
			KUNIT_EXPECT_EQ_MSG(test, lab->cpu[cpu].asked, 1, "CPU %d", cpu);
		forget_runs(lab);

		/* A hold does not ask about the calling CPU. */
		__cpumask_set_cpu(me, &lab->mask);
		err = hold(lab, &cs, cpu_online_mask);
		held = cpusync_held(&cs);
		if (held && lab->left_out != me)
			free = moves(&lab->cpu[lab->left_out]);
		let_go(lab, &cs);

		KUNIT_EXPECT_EQ(test, err, 0);
		KUNIT_EXPECT_TRUE(test, free);
		expect_one_run_each(test, &lab->mask);
		for_each_online_cpu(cpu)
			KUNIT_EXPECT_EQ_MSG(test, lab->cpu[cpu].asked, cpu != me, "CPU %d", cpu);
		forget_runs(lab);
	}
	KUNIT_EXPECT_EQ(test, lab->asked_elsewhere, 0);
}

/* Runs */

static void simple_runs_once_on_each_cpu(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int i;
	int cpu;

	for (i = 1; i <= ROUNDS; i++) {
		lab->message = i;
		cpusync_simple(cpu_online_mask, NULL, run_here, lab);
		expect_one_run_each(test, cpu_online_mask);
		for_each_online_cpu(cpu)
			KUNIT_EXPECT_EQ_MSG(test, lab->cpu[cpu].saw, i, "on CPU %d", cpu);
		forget_runs(lab);
	}
}

static void put_online(void *cpu)
{
	add_cpu((long)cpu);
}

static void nothing(void *info)
{
}

/* Asked about the first CPU, and then, when that has its part, the second one. */
static bool first_then_wait(int cpu, void *info)
{
	struct lab *lab = info;

	if (cpu == cpumask_first(&lab->called))
		return true;
	WRITE_ONCE(lab->queued, true);
	happens_within(OFF_AT_MOST, READ_ONCE(lab->go_on));
	return false;
}

static int call_and_stop_half_way(void *arg)
{
	struct lab *lab = ((struct lab_cpu *)arg)->lab;

	on_each_cpu_cond_mask(first_then_wait, nothing, lab, false, &lab->called);
	while (!kthread_should_stop())
		msleep(20);
	return 0;
}

/* CPU 2 has queued something for CPU 1 and is held before it interrupts it. */
static void kick_behind_a_held_cpus_call_arrives(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct cpusync cs;
	int err = -EIO;
	bool queued;

	need_cpus(test, 4);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_SHORT), 0);
	run_on(test, take_turns, nth(1));
	KUNIT_ASSERT_TRUE(test, moves(nth_cpu(lab, 1)));
	cpumask_set_cpu(nth(1), &lab->called);
	cpumask_set_cpu(nth(3), &lab->called);
	run_on(test, call_and_stop_half_way, nth(2));
	queued = happens_within(PATIENCE, READ_ONCE(lab->queued));

	cpumask_set_cpu(nth(1), &lab->mask);
	cpumask_set_cpu(nth(2), &lab->mask);
	cpusync_init(&cs, NULL, run_here, lab);
	if (queued)
		err = hold(lab, &cs, &lab->mask);
	let_go(lab, &cs);
	WRITE_ONCE(lab->go_on, true);
	KUNIT_ASSERT_TRUE(test, queued);
	KUNIT_EXPECT_EQ(test, err, 0);
	expect_one_run_each(test, &lab->mask);
}

static void offline_cpu_counts_as_done(struct kunit *test)
{
	struct lab *lab = test->priv;
	int err, more = -1, cpu = cpumask_last(cpu_online_mask);
	struct cpusync cs;

	need_cpus(test, 2);
	if (!IS_ENABLED(CONFIG_HOTPLUG_CPU) || !cpu_is_hotpluggable(cpu))
		kunit_skip(test, "CPU %d cannot be taken offline", cpu);
	KUNIT_ASSERT_EQ(test, remove_cpu(cpu), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, put_online, (void *)(long)cpu), 0);

	cpumask_copy(&lab->mask, cpu_possible_mask);
	cpusync_init(&cs, NULL, run_here, lab);
	err = hold(lab, &cs, &lab->mask);
	if (!err)
		more = try_hold(lab, &cs, cpumask_of(cpu));
	let_go(lab, &cs);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, more, 0);
	expect_one_run_each(test, cpu_online_mask);
	forget_runs(lab);

	cpusync_simple(&lab->mask, NULL, run_here, lab);
	expect_one_run_each(test, cpu_online_mask);
	forget_runs(lab);

	kunit_remove_action(test, put_online, (void *)(long)cpu);
	put_online((void *)(long)cpu);
	KUNIT_ASSERT_TRUE(test, cpu_online(cpu));
	err = hold(lab, &cs, &lab->mask);
	let_go(lab, &cs);
	KUNIT_EXPECT_EQ(test, err, 0);
	expect_one_run_each(test, cpu_online_mask);
}

/* Holding */

static void hold_stops_the_others(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int i, round, moved = 0, held_in_half = 0;
	unsigned long *turns;
	struct cpusync cs;
	int err;

	need_cpus(test, 2);
	turns = kunit_kcalloc(test, num_online_cpus(), sizeof(*turns), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, turns);
	start_others(test);
	cpusync_init(&cs, NULL, run_here, lab);

	for (round = 0; round < ROUNDS; round++) {
		err = hold(lab, &cs, cpu_online_mask);
		for (i = 1; i < num_online_cpus(); i++) {
			struct lab_cpu *c = nth_cpu(lab, i);

			turns[i] = READ_ONCE(c->turns);
			held_in_half += turns[i] != READ_ONCE(c->begun);
		}
		spend(2);
		for (i = 1; i < num_online_cpus(); i++)
			moved += READ_ONCE(nth_cpu(lab, i)->turns) != turns[i];
		let_go(lab, &cs);

		KUNIT_ASSERT_EQ(test, err, 0);
		KUNIT_ASSERT_EQ(test, stuck(lab, -1), 0);
	}
	KUNIT_EXPECT_EQ(test, moved, 0);
	KUNIT_EXPECT_EQ_MSG(test, held_in_half, 0, "held with interrupts off");
	KUNIT_EXPECT_EQ(test, nth_cpu(lab, 0)->held, 0);
	for (i = 1; i < num_online_cpus(); i++)
		KUNIT_EXPECT_EQ_MSG(test, nth_cpu(lab, i)->held, ROUNDS, "on CPU %d", nth(i));
}

static void function_sees_what_was_written_while_held(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int round, early;
	struct cpusync cs;
	int cpu, err;

	need_cpus(test, 2);
	cpusync_init(&cs, NULL, run_here, lab);
	for (round = 1; round <= ROUNDS; round++) {
		err = hold(lab, &cs, cpu_online_mask);
		early = all_runs(lab);
		lab->message = round;
		let_go(lab, &cs);

		KUNIT_ASSERT_EQ(test, err, 0);
		KUNIT_EXPECT_EQ(test, early, 0);
		expect_one_run_each(test, cpu_online_mask);
		for_each_online_cpu(cpu)
			KUNIT_EXPECT_EQ_MSG(test, lab->cpu[cpu].saw, round, "on CPU %d", cpu);
		forget_runs(lab);
	}
}

static enum hrtimer_restart timer_runs(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;
}

static void start_timer(void *timer)
{
	hrtimer_start(timer, ms_to_ktime(20), HRTIMER_MODE_REL_PINNED_HARD);
}

static void stop_timer(void *timer)
{
	hrtimer_cancel(timer);
}

static void pending_timer_interrupt_runs_after_release(struct kunit *test)
{
	struct lab *lab = test->priv;
	bool early = true, ran = false, was_held = false;
	struct hrtimer *timer;
	struct cpusync cs;
	unsigned int i;

	need_cpus(test, 2);
	timer = kunit_kzalloc(test, sizeof(*timer), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, timer);
	hrtimer_setup(timer, timer_runs, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, stop_timer, timer), 0);
	cpusync_init(&cs, NULL, run_here, lab);

	/* The hold has to come before the timer, for the case to say anything. */
	for (i = 0; i < 4 * TRIES && !was_held; i++) {
		hrtimer_cancel(timer);
		KUNIT_ASSERT_EQ(test, smp_call_function_single(nth(1), start_timer, timer, 1), 0);
		try_hold(lab, &cs, cpumask_of(nth(1)));
		was_held = cpusync_held(&cs) && hrtimer_active(timer);
		if (was_held) {
			spend(50);
			early = !hrtimer_active(timer);
		}
		let_go(lab, &cs);
		ran = happens_within(PATIENCE, !hrtimer_active(timer));
	}
	KUNIT_ASSERT_TRUE(test, was_held);
	KUNIT_EXPECT_FALSE(test, early);
	KUNIT_EXPECT_TRUE(test, ran);
}

/* Adding */

static void adding_cpus_kicks_only_new_ones(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int kicks[2][2] = {};
	struct lab_cpu *a, *b;
	unsigned long gap = 0;
	struct cpusync cs;
	int i, err = -EAGAIN;

	need_cpus(test, 3);
	start_others(test);
	note_kicks(test);
	a = nth_cpu(lab, 1);
	b = nth_cpu(lab, 2);
	cpusync_init(&cs, not_left_out, run_here, lab);
	lab->left_out = -1;
	cpumask_set_cpu(a->cpu, &lab->mask);
	cpumask_set_cpu(b->cpu, &lab->mask);

	for (i = 0; i < TRIES && err == -EAGAIN; i++) {
		err = hold(lab, &cs, cpumask_of(a->cpu));
		if (err)
			break;
		kicks[0][0] = a->kicks;
		kicks[0][1] = b->kicks;
		gap = READ_ONCE(a->turns);
		err = try_hold(lab, &cs, &lab->mask);
		if (err < 0)
			continue;
		gap = READ_ONCE(a->turns) - gap;
		kicks[1][0] = a->kicks;
		kicks[1][1] = b->kicks;
		let_go(lab, &cs);
	}
	KUNIT_ASSERT_EQ(test, err, 1);
	KUNIT_EXPECT_EQ(test, kicks[0][0], 1);
	KUNIT_EXPECT_EQ(test, kicks[0][1], 0);
	KUNIT_EXPECT_EQ(test, kicks[1][0], 1);
	KUNIT_EXPECT_EQ(test, kicks[1][1], 1);
	KUNIT_EXPECT_EQ(test, a->asked, 1);
	KUNIT_EXPECT_EQ(test, b->asked, 1);
	KUNIT_EXPECT_EQ_MSG(test, gap, 0, "who was held has gone on when others were added");
	expect_one_run_each(test, &lab->mask);
}

static void add_of_held_cpus_costs_nothing(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int kicks = 0, asked = 0;
	int cpu, err, again = -1, me = -1;
	struct cpusync cs;
	u64 held = 0;

	need_cpus(test, 2);
	note_kicks(test);
	cpusync_init(&cs, not_left_out, run_here, lab);
	lab->left_out = -1;
	cpumask_copy(&lab->mask, cpu_online_mask);
	__cpumask_clear_cpu(nth(0), &lab->mask);

	err = hold(lab, &cs, &lab->mask);
	if (!err) {
		forget_kicks(lab);
		held = cs.held;
		again = try_hold(lab, &cs, &lab->mask);
		me = try_hold(lab, &cs, cpu_online_mask);
		held -= cs.held;
		for_each_possible_cpu(cpu) {
			kicks += lab->cpu[cpu].kicks;
			asked += lab->cpu[cpu].asked;
		}
	}
	let_go(lab, &cs);

	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, again, 0);
	KUNIT_EXPECT_EQ_MSG(test, me, 0, "the calling CPU was added");
	KUNIT_EXPECT_EQ(test, kicks, 0);
	KUNIT_EXPECT_EQ(test, asked, 0);
	KUNIT_EXPECT_EQ_MSG(test, held, 0, "committed once more");
	expect_one_run_each(test, cpu_online_mask);
}

static void reopened_hold_returns_1(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int i, early = 0, tries = 0, moved;
	unsigned long turns;
	struct cpusync cs;
	int err;

	need_cpus(test, 2);
	start_others(test);
	cpusync_init(&cs, NULL, run_here, lab);
	do {
		moved = 0;
		err = hold(lab, &cs, cpumask_of(nth(0)));
		for (i = 1; i < num_online_cpus() && err >= 0; i++) {
			err = try_hold(lab, &cs, cpumask_of(nth(i)));
			if (err != 1)
				break;
			turns = READ_ONCE(nth_cpu(lab, i)->turns);
			spend(1);
			moved += READ_ONCE(nth_cpu(lab, i)->turns) != turns;
		}
		early += all_runs(lab);
		let_go(lab, &cs);
	} while (err == -EAGAIN && ++tries < TRIES);

	KUNIT_ASSERT_EQ(test, err, 1);
	KUNIT_EXPECT_EQ(test, moved, 0);
	KUNIT_EXPECT_EQ(test, early, 0);
	expect_one_run_each(test, cpu_online_mask);
}

/* Backing out */

static void back_out_leaves_nobody_held_and_runs_nothing(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int nr_stuck;
	struct lab_cpu *off;
	bool held, still;
	struct cpusync cs;
	int err;

	need_cpus(test, 2);
	start_others(test);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_SHORT), 0);
	off = nth_cpu(lab, num_online_cpus() - 1);
	KUNIT_ASSERT_TRUE(test, switch_off(off));

	cpusync_init(&cs, NULL, run_here, lab);
	err = try_hold(lab, &cs, cpu_online_mask);
	held = cpusync_held(&cs);
	let_go(lab, &cs);
	nr_stuck = stuck(lab, off->cpu);
	still = READ_ONCE(off->is_off);

	KUNIT_EXPECT_EQ(test, err, -EAGAIN);
	KUNIT_EXPECT_FALSE(test, held);
	KUNIT_EXPECT_EQ(test, nr_stuck, 0);
	KUNIT_EXPECT_TRUE_MSG(test, still, "that was too slow to tell");
	KUNIT_EXPECT_TRUE(test, switch_on(off));
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
}

static void failed_reopening_lets_everybody_go(struct kunit *test)
{
	struct lab *lab = test->priv;
	int err, more = 0;
	struct lab_cpu *a, *off;
	struct cpusync cs;
	bool held, free;

	need_cpus(test, 3);
	start_others(test);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_SHORT), 0);
	a = nth_cpu(lab, 1);
	off = nth_cpu(lab, 2);
	KUNIT_ASSERT_TRUE(test, switch_off(off));

	cpusync_init(&cs, NULL, run_here, lab);
	err = hold(lab, &cs, cpumask_of(a->cpu));
	if (!err)
		more = try_hold(lab, &cs, cpumask_of(off->cpu));
	held = cpusync_held(&cs);
	let_go(lab, &cs);
	free = moves(a);

	KUNIT_EXPECT_TRUE(test, switch_on(off));
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, more, -EAGAIN);
	KUNIT_EXPECT_FALSE(test, held);
	KUNIT_EXPECT_TRUE(test, free);
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
}

/* Back out because of @off, which then has mail and a kick that is pending. */
static void leave_a_kick_behind(struct kunit *test, struct lab_cpu *off)
{
	struct lab *lab = test->priv;
	struct cpusync cs;
	int err;

	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_SHORT), 0);
	KUNIT_ASSERT_TRUE(test, switch_off(off));
	cpusync_init(&cs, NULL, run_here, lab);
	err = try_hold(lab, &cs, cpumask_of(off->cpu));
	let_go(lab, &cs);
	KUNIT_EXPECT_EQ(test, err, -EAGAIN);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_AMPLE), 0);
}

/* What is traced */

static void note_backout(void *data, smp_call_func_t func, const struct cpumask *cpus,
			 const struct cpumask *absent, u64 wait_ns, unsigned int why)
{
	struct lab *lab = data;

	cpumask_copy(&lab->absent, absent);
	lab->wait_ns = wait_ns;
	lab->why = why;
}

static void note_hold(void *data, smp_call_func_t func, const struct cpumask *cpus,
		      u64 wait_ns, u64 hold_ns, unsigned int lost)
{
	struct lab *lab = data;

	lab->wait_ns = wait_ns;
	lab->hold_ns = hold_ns;
}

static void stop_noting_holds(void *lab)
{
	unregister_trace_cpusync_backout(note_backout, lab);
	unregister_trace_cpusync_hold(note_hold, lab);
	tracepoint_synchronize_unregister();
}

static void note_holds(struct kunit *test)
{
	struct lab *lab = test->priv;

	lab->why = CPUSYNC_NR_WHY;
	if (register_trace_cpusync_backout(note_backout, lab))
		kunit_skip(test, "needs tracepoints to see what is traced");
	KUNIT_ASSERT_EQ(test, register_trace_cpusync_hold(note_hold, lab), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_noting_holds, lab), 0);
}

static void back_out_names_who_did_not_come(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct lab_cpu *off;
	struct cpusync cs;
	int err;

	need_cpus(test, 2);
	start_others(test);
	note_holds(test);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_SHORT), 0);
	off = nth_cpu(lab, num_online_cpus() - 1);
	KUNIT_ASSERT_TRUE(test, switch_off(off));
	cpusync_init(&cs, NULL, run_here, lab);
	err = try_hold(lab, &cs, cpu_online_mask);
	let_go(lab, &cs);

	KUNIT_EXPECT_TRUE(test, switch_on(off));
	KUNIT_ASSERT_EQ(test, err, -EAGAIN);
	KUNIT_EXPECT_EQ(test, lab->why, CPUSYNC_ABSENT);
	KUNIT_EXPECT_TRUE_MSG(test, cpumask_equal(&lab->absent, cpumask_of(off->cpu)),
			      "CPUs %*pbl, not %d", cpumask_pr_args(&lab->absent), off->cpu);
	KUNIT_EXPECT_GE(test, lab->wait_ns, 100 * NSEC_PER_MSEC);
}

static void hold_time_is_measured(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct cpusync cs;
	int err, more = 0;
	u64 ns = 0;

	note_holds(test);
	cpusync_init(&cs, NULL, run_here, lab);
	err = hold(lab, &cs, cpu_online_mask);
	if (!err) {
		ns = ktime_get_mono_fast_ns();
		spend(5);
		ns = ktime_get_mono_fast_ns() - ns;
	}
	let_go(lab, &cs);
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_GE(test, lab->hold_ns, ns);
	KUNIT_EXPECT_LT(test, lab->hold_ns, ns + NSEC_PER_SEC);

	if (num_online_cpus() < 2)
		return;

	/* CPUs that are added do not set it back. */
	err = hold(lab, &cs, cpumask_of(nth(0)));
	if (!err) {
		ns = ktime_get_mono_fast_ns();
		spend(5);
		ns = ktime_get_mono_fast_ns() - ns;
		more = try_hold(lab, &cs, cpu_online_mask);
	}
	let_go(lab, &cs);
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_ASSERT_EQ(test, more, 1);
	KUNIT_EXPECT_GE(test, lab->hold_ns, ns);
}

static void late_kick_after_back_out_does_nothing(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct lab_cpu *off;
	struct cpusync cs;
	bool free = true;
	int err;

	need_cpus(test, 2);
	start_others(test);
	off = nth_cpu(lab, num_online_cpus() - 1);
	cpusync_init(&cs, NULL, run_here, lab);

	/* While there is no request at all. */
	leave_a_kick_behind(test, off);
	KUNIT_EXPECT_TRUE(test, switch_on(off));
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
	err = hold(lab, &cs, cpumask_of(off->cpu));
	let_go(lab, &cs);
	KUNIT_EXPECT_EQ(test, err, 0);
	expect_one_run_each(test, cpumask_of(off->cpu));
	forget_runs(lab);

	/* While the same initiator holds others: nobody, if there are none. */
	cpumask_copy(&lab->mask, cpu_online_mask);
	__cpumask_clear_cpu(off->cpu, &lab->mask);
	leave_a_kick_behind(test, off);
	err = hold(lab, &cs, &lab->mask);
	if (!err)
		free = switch_on(off);
	let_go(lab, &cs);
	KUNIT_EXPECT_TRUE(test, switch_on(off));
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_TRUE(test, free);
	expect_one_run_each(test, &lab->mask);
}

/* Helper of the next: first CPU 1 takes interrupts again, then CPU 2. */
static int switch_on_in_turn(void *arg)
{
	struct lab_cpu *c = arg;
	struct lab *lab = c->lab;

	if (!happens_within(PATIENCE, READ_ONCE(lab->kicked) || kthread_should_stop()))
		atomic_inc(&lab->wrong);
	if (!switch_on(nth_cpu(lab, 1)))
		atomic_inc(&lab->wrong);
	spend(5);
	atomic_set(&lab->done, 1);
	WRITE_ONCE(nth_cpu(lab, 2)->stay_off, false);
	return 0;
}

static void late_kick_does_not_count_for_the_next_hold(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct lab_cpu *late, *off;
	bool in_half = false, too_early = false, free = true;
	struct cpusync cs;
	int err;

	need_cpus(test, 4);
	start_others(test);
	note_kicks(test);
	late = nth_cpu(lab, 1);
	off = nth_cpu(lab, 2);
	leave_a_kick_behind(test, late);
	KUNIT_ASSERT_TRUE(test, switch_off(off));
	forget_kicks(lab);
	run_on(test, switch_on_in_turn, nth(3));

	/* Open for CPU 2 when the kick of CPU 1 is run at last. */
	cpusync_init(&cs, NULL, run_here, lab);
	err = try_hold(lab, &cs, cpumask_of(off->cpu));
	if (!err) {
		too_early = !atomic_read(&lab->done);
		in_half = READ_ONCE(off->turns) != READ_ONCE(off->begun);
		free = moves(late);
	}
	let_go(lab, &cs);

	KUNIT_EXPECT_TRUE(test, switch_on(late));
	KUNIT_EXPECT_TRUE(test, switch_on(off));
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_FALSE(test, too_early);
	KUNIT_EXPECT_FALSE(test, in_half);
	KUNIT_EXPECT_TRUE(test, free);
	KUNIT_EXPECT_EQ(test, atomic_read(&lab->wrong), 0);
	expect_one_run_each(test, cpumask_of(off->cpu));
}

/* Several initiators */

static int hold_each_other(void *arg)
{
	struct lab_cpu *c = arg;
	struct lab *lab = c->lab;
	struct cpusync cs;
	int err;

	cpusync_init(&cs, NULL, run_here, lab);
	while (!kthread_should_stop()) {
		err = cpusync_interlock(&cs, &lab->mask);
		if (cpusync_held(&cs)) {
			if (atomic_inc_return(&lab->inside) != 1)
				atomic_inc(&lab->wrong);
			WRITE_ONCE(c->made, c->made + 1);
			spend(1);
			atomic_dec(&lab->inside);
			cpusync_deinterlock(&cs);
		} else if (err == -EAGAIN) {
			c->backed_out++;
		}
		if ((err && err != -EAGAIN) || irqs_disabled() || preempt_count())
			atomic_inc(&lab->wrong);
		udelay(get_random_u32_below(1000));
		cond_resched();
	}
	return 0;
}

static bool all_made_progress(struct lab *lab)
{
	int i;

	for (i = 0; i < lab->nr; i++)
		if (READ_ONCE(nth_cpu(lab, i)->made) < ROUNDS)
			return false;
	return true;
}

/* Everybody of the first @n CPUs tries to hold all of them. */
static void expect_progress(struct kunit *test, int n)
{
	struct lab *lab = test->priv;
	unsigned int made = 0, backed_out = 0;
	int i;

	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_DUEL), 0);
	for (i = 0; i < n; i++)
		cpumask_set_cpu(nth(i), &lab->mask);
	lab->nr = n;
	run_threads(test, hold_each_other, n, all_made_progress);

	KUNIT_EXPECT_TRUE(test, all_made_progress(lab));
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&lab->wrong), 0, "held each other at once");
	for (i = 0; i < n; i++) {
		made += nth_cpu(lab, i)->made;
		backed_out += nth_cpu(lab, i)->backed_out;
	}
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ_MSG(test, nth_cpu(lab, i)->runs, made, "on CPU %d", nth(i));
	kunit_info(test, "%u initiators: %u holds, backed out %u times\n", n, made, backed_out);
}

static void two_initiators_make_progress(struct kunit *test)
{
	need_cpus(test, 2);
	expect_progress(test, 2);
}

static void n_initiators_make_progress(struct kunit *test)
{
	need_cpus(test, 3);
	expect_progress(test, num_online_cpus());
}

static void serve(void *info)
{
	struct lab_cpu *c = info;

	WRITE_ONCE(c->served, c->served + 1);
}

/* All initiators but the last CPU hold the last one, and leave one by one. */
static int hold_together(void *arg)
{
	struct lab_cpu *c = arg, *target;
	struct lab *lab = c->lab;
	unsigned long turns;
	struct cpusync cs;
	bool together;

	/* Whoever holds CPUs keeps the others from being started on its own. */
	atomic_inc(&lab->ready);
	while (atomic_read(&lab->ready) < lab->nr && !kthread_should_stop())
		cond_resched();

	target = &lab->cpu[cpumask_first(&lab->mask)];
	cpusync_init(&cs, NULL, serve, c);
	cpusync_interlock(&cs, &lab->mask);
	if (cpusync_held(&cs)) {
		atomic_inc(&lab->inside);
		together = happens_within(PATIENCE / 2, atomic_read(&lab->inside) == lab->nr);
		turns = READ_ONCE(target->turns);
		if (READ_ONCE(c->served))
			atomic_inc(&lab->wrong);
		happens_within(PATIENCE / 2, READ_ONCE(lab->turn) == c->order);
		if (READ_ONCE(target->turns) != turns)
			atomic_inc(&lab->wrong);
		cpusync_deinterlock(&cs);
		if (READ_ONCE(c->served) != 1)
			atomic_inc(&lab->wrong);
		if (together)
			atomic_inc(&lab->together);
	}
	WRITE_ONCE(lab->turn, c->order + 1);
	atomic_inc(&lab->done);
	return 0;
}

static bool all_done(struct lab *lab)
{
	return atomic_read(&lab->done) == lab->nr;
}

static void expect_held_together(struct kunit *test, int n)
{
	struct lab *lab = test->priv;
	struct lab_cpu *target = nth_cpu(lab, n);
	int i, tries = 0;

	run_on(test, take_turns, target->cpu);
	cpumask_set_cpu(target->cpu, &lab->mask);
	lab->nr = n;
	do {
		for (i = 0; i < n; i++) {
			nth_cpu(lab, i)->order = i;
			nth_cpu(lab, i)->served = 0;
		}
		atomic_set(&lab->ready, 0);
		atomic_set(&lab->inside, 0);
		atomic_set(&lab->together, 0);
		atomic_set(&lab->done, 0);
		lab->turn = 0;
		run_threads(test, hold_together, n, all_done);
		KUNIT_EXPECT_TRUE(test, moves(target));
	} while (atomic_read(&lab->together) != n && ++tries < TRIES);

	KUNIT_EXPECT_EQ(test, atomic_read(&lab->together), n);
	KUNIT_EXPECT_EQ(test, atomic_read(&lab->wrong), 0);
}

static void one_cpu_held_by_two_initiators(struct kunit *test)
{
	need_cpus(test, 3);
	expect_held_together(test, 2);
}

static void one_cpu_held_by_n_initiators(struct kunit *test)
{
	need_cpus(test, 4);
	/* One has room for 8. */
	expect_held_together(test, min(num_online_cpus() - 1, 8));
}

/* Holds CPU 2 for longer than that would wait by itself. */
static int hold_long(void *arg)
{
	struct lab_cpu *c = arg;
	struct lab *lab = c->lab;
	struct cpusync cs;

	cpusync_init(&cs, NULL, serve, c);
	cpusync_interlock(&cs, cpumask_of(nth(2)));
	if (cpusync_held(&cs)) {
		WRITE_ONCE(lab->turn, 1);
		spend(1000);
		WRITE_ONCE(lab->turn, 2);
		cpusync_deinterlock(&cs);
	}
	atomic_inc(&lab->done);
	return 0;
}

/* Otherwise a stream of holds that overlap would keep it in there. */
static void new_hold_waits_for_who_was_held_long_to_go(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct task_struct *other;
	bool too_early = false;
	int i, err = -EAGAIN;
	struct cpusync cs;

	need_cpus(test, 3);
	run_on(test, take_turns, nth(2));
	KUNIT_ASSERT_TRUE(test, moves(nth_cpu(lab, 2)));
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_LATE), 0);
	cpusync_init(&cs, NULL, run_here, lab);
	for (i = 0; i < TRIES && err == -EAGAIN; i++) {
		lab->turn = 0;
		atomic_set(&lab->done, 0);
		other = run_on(test, hold_long, nth(1));
		if (happens_within(PATIENCE, READ_ONCE(lab->turn) == 1)) {
			spend(700);
			err = try_hold(lab, &cs, cpumask_of(nth(2)));
			if (!err)
				too_early = READ_ONCE(lab->turn) != 2;
			let_go(lab, &cs);
		}
		happens_within(THREADS_AT_MOST, atomic_read(&lab->done));
		kunit_release_action(test, stop_thread, other);
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_FALSE(test, too_early);
	KUNIT_EXPECT_EQ(test, nth_cpu(lab, 2)->runs, 1);
}

/* The caller */

static void nested_hold_is_refused(struct kunit *test)
{
	struct lab *lab = test->priv;
	int err, nested = 0, warned = 0;
	struct cpusync outer, inner;
	bool held = false;

	cpusync_init(&outer, NULL, run_here, lab);
	cpusync_init(&inner, NULL, run_here, lab);
	kunit_warning_suppress(test) {
		err = hold(lab, &outer, cpu_online_mask);
		if (!err) {
			nested = cpusync_interlock(&inner, cpumask_of(nth(0)));
			check_closed(lab);
			held = cpusync_held(&inner);
		}
		let_go(lab, &outer);
		warned = KUNIT_SUPPRESSED_WARNING_COUNT();
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, nested, -EBUSY);
	KUNIT_EXPECT_FALSE(test, held);
	KUNIT_EXPECT_GE_MSG(test, warned, 1, "no warning");
	expect_one_run_each(test, cpu_online_mask);
}

struct interrupt {
	struct irq_work		work;
	struct cpusync		cs;
	const struct cpumask	*mask;
	bool			held;
	bool			done;
	int			err;
};

static void hold_from_interrupt(struct irq_work *work)
{
	struct interrupt *i = container_of(work, struct interrupt, work);

	i->err = cpusync_interlock(&i->cs, i->mask);
	i->held = cpusync_held(&i->cs);
	if (i->held)
		cpusync_deinterlock(&i->cs);
	WRITE_ONCE(i->done, true);
}

static void hold_from_interrupt_is_refused(struct kunit *test)
{
	struct lab *lab = test->priv;
	int warned = 0;
	bool done = false;
	struct interrupt *i;

	i = kunit_kzalloc(test, sizeof(*i), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, i);
	init_irq_work(&i->work, hold_from_interrupt);
	i->mask = cpumask_of(nth(0));
	cpusync_init(&i->cs, NULL, run_here, lab);
	kunit_warning_suppress(test) {
		/* It is this task that it interrupts: nobody else's warnings count. */
		preempt_disable();
		irq_work_queue(&i->work);
		done = happens_within(PATIENCE, READ_ONCE(i->done));
		preempt_enable();
		irq_work_sync(&i->work);
		warned = KUNIT_SUPPRESSED_WARNING_COUNT();
	}
	KUNIT_ASSERT_TRUE(test, done);
	KUNIT_EXPECT_EQ(test, i->err, -EBUSY);
	KUNIT_EXPECT_FALSE(test, i->held);
	KUNIT_EXPECT_GE_MSG(test, warned, 1, "no warning");
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
}

static void hold_with_interrupts_off_is_refused(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct cpusync cs;
	int err, warned;
	bool held;

	cpusync_init(&cs, NULL, run_here, lab);
	kunit_warning_suppress(test) {
		local_irq_disable();
		err = cpusync_interlock(&cs, cpumask_of(nth(0)));
		held = cpusync_held(&cs);
		if (held)
			cpusync_deinterlock(&cs);
		local_irq_enable();
		warned = KUNIT_SUPPRESSED_WARNING_COUNT();
	}
	KUNIT_EXPECT_EQ(test, err, -EBUSY);
	KUNIT_EXPECT_FALSE(test, held);
	KUNIT_EXPECT_GE_MSG(test, warned, IS_ENABLED(CONFIG_PROVE_LOCKING) ? 2 : 1,
			    "no warning, or not by lockdep");
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
}

static DEFINE_SPINLOCK(callers_lock);

static void plain(void) { }
static void no_preemption(void) { preempt_disable(); }
static void preemption(void) { preempt_enable(); }
static void no_softirqs(void) { local_bh_disable(); }
static void softirqs(void) { local_bh_enable(); }
static void lock(void) { spin_lock(&callers_lock); }
static void unlock(void) { spin_unlock(&callers_lock); }

static const struct {
	const char	*name;
	void		(*enter)(void);
	void		(*leave)(void);
} contexts[] = {
	{ "plain", plain, plain },
	{ "preemption off", no_preemption, preemption },
	{ "softirqs off", no_softirqs, softirqs },
	{ "lock taken", lock, unlock },
};

static void context_is_restored(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct lab_cpu *off = NULL;
	struct cpusync cs;
	int i, err, none;

	start_others(test);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_SHORT), 0);
	if (num_online_cpus() > 1)
		off = nth_cpu(lab, 1);
	cpusync_init(&cs, NULL, run_here, lab);

	for (i = 0; i < ARRAY_SIZE(contexts); i++) {
		contexts[i].enter();
		none = hold(lab, &cs, &lab->mask);
		let_go(lab, &cs);
		err = hold(lab, &cs, cpu_online_mask);
		let_go(lab, &cs);
		contexts[i].leave();
		KUNIT_EXPECT_EQ_MSG(test, none, 0, "%s", contexts[i].name);
		KUNIT_EXPECT_EQ_MSG(test, err, 0, "%s", contexts[i].name);

		if (off) {
			KUNIT_ASSERT_TRUE(test, switch_off(off));
			contexts[i].enter();
			err = try_hold(lab, &cs, cpu_online_mask);
			let_go(lab, &cs);
			contexts[i].leave();
			KUNIT_EXPECT_TRUE(test, switch_on(off));
			KUNIT_EXPECT_EQ_MSG(test, err, -EAGAIN, "%s", contexts[i].name);
		}
		KUNIT_EXPECT_EQ_MSG(test, lab->not_closed, 0, "%s", contexts[i].name);
		KUNIT_EXPECT_EQ_MSG(test, lab->not_restored, 0, "%s", contexts[i].name);
		lab->not_closed = 0;
		lab->not_restored = 0;
	}
}

static void held_cpus_leave_when_somebody_oopses(struct kunit *test)
{
	struct lab *lab = test->priv;
	unsigned int nr_stuck = 0;
	struct cpusync cs;
	int err, more = 0;

	need_cpus(test, 2);
	start_others(test);
	cpusync_init(&cs, NULL, run_here, lab);

	/* All the same, the function runs. */
	err = hold(lab, &cs, cpu_online_mask);
	if (!err) {
		WRITE_ONCE(oops_in_progress, 1);
		nr_stuck = stuck(lab, -1);
		WRITE_ONCE(oops_in_progress, 0);
	}
	let_go(lab, &cs);
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, nr_stuck, 0);
	expect_one_run_each(test, cpu_online_mask);
	forget_runs(lab);

	/* None begins meanwhile: nobody would stay. */
	WRITE_ONCE(oops_in_progress, 1);
	err = try_hold(lab, &cs, cpu_online_mask);
	WRITE_ONCE(oops_in_progress, 0);
	let_go(lab, &cs);
	KUNIT_EXPECT_EQ(test, err, -EOPNOTSUPP);

	/* Nor does one go on with others. */
	err = hold(lab, &cs, cpu_none_mask);
	WRITE_ONCE(oops_in_progress, 1);
	more = try_hold(lab, &cs, cpumask_of(nth(1)));
	WRITE_ONCE(oops_in_progress, 0);
	let_go(lab, &cs);
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, more, -EAGAIN);
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
	forget_runs(lab);

	if (num_online_cpus() < 3)
		return;

	/* Such a hold cannot be opened again. */
	err = hold(lab, &cs, cpumask_of(nth(1)));
	if (!err) {
		WRITE_ONCE(oops_in_progress, 1);
		moves(nth_cpu(lab, 1));
		WRITE_ONCE(oops_in_progress, 0);
		more = try_hold(lab, &cs, cpumask_of(nth(2)));
	}
	let_go(lab, &cs);
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, more, -EAGAIN);
	KUNIT_EXPECT_EQ(test, stuck(lab, -1), 0);
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
}

#ifdef CONFIG_PREEMPT_RT
static void preempt_rt_has_no_holds(struct kunit *test)
{
	struct lab *lab = test->priv;
	struct cpusync cs;

	cpusync_init(&cs, NULL, run_here, lab);
	KUNIT_EXPECT_EQ(test, cpusync_interlock(&cs, cpu_online_mask), -EOPNOTSUPP);
	KUNIT_EXPECT_FALSE(test, cpusync_held(&cs));
	KUNIT_EXPECT_EQ(test, all_runs(lab), 0);
}
#endif

/* Before and after each case */

static int cpusync_test_init(struct kunit *test)
{
	const struct kernel_param *kp = budget_param();
	struct lab *lab;
	char *page;
	int cpu;

	if (IS_ENABLED(CONFIG_PREEMPT_RT) && !strstr(test->name, "simple") &&
	    !strstr(test->name, "preempt_rt"))
		kunit_skip(test, "PREEMPT_RT has no holds");
	if (cpusync_oopsed())
		kunit_skip(test, "somebody has oopsed: there are no holds any more");

	KUNIT_ASSERT_FALSE(test, irqs_disabled());
	KUNIT_ASSERT_EQ(test, preempt_count(), 0);

	lab = kunit_kzalloc(test, sizeof(*lab), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, lab);
	lab->cpu = kunit_kcalloc(test, nr_cpu_ids, sizeof(*lab->cpu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, lab->cpu);
	for_each_possible_cpu(cpu) {
		lab->cpu[cpu].lab = lab;
		lab->cpu[cpu].cpu = cpu;
	}
	lab->task = current;

	KUNIT_ASSERT_NOT_NULL(test, kp);
	page = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_GT(test, kp->ops->get(page, kp), 0);
	KUNIT_ASSERT_EQ(test, set_budget(BUDGET_AMPLE), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, restore_budget, page), 0);

	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(nth(0))), 0);
	test->priv = lab;
	return 0;
}

static void cpusync_test_exit(struct kunit *test)
{
	struct lab *lab = test->priv;

	KUNIT_EXPECT_FALSE(test, irqs_disabled());
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
	if (lab) {
		KUNIT_EXPECT_EQ(test, lab->not_closed, 0);
		KUNIT_EXPECT_EQ(test, lab->not_restored, 0);
	}
}

static struct kunit_case cpusync_cases[] = {
#ifdef CONFIG_PREEMPT_RT
	KUNIT_CASE(preempt_rt_has_no_holds),
#endif
	KUNIT_CASE(empty_mask_holds_nobody),
	KUNIT_CASE(calling_cpu_in_or_out_of_mask),
	KUNIT_CASE(condition_limits_targets),
	KUNIT_CASE(simple_runs_once_on_each_cpu),
	KUNIT_CASE(hold_stops_the_others),
	KUNIT_CASE(function_sees_what_was_written_while_held),
	KUNIT_CASE(pending_timer_interrupt_runs_after_release),
	KUNIT_CASE(adding_cpus_kicks_only_new_ones),
	KUNIT_CASE(add_of_held_cpus_costs_nothing),
	KUNIT_CASE(reopened_hold_returns_1),
	KUNIT_CASE(back_out_leaves_nobody_held_and_runs_nothing),
	KUNIT_CASE(failed_reopening_lets_everybody_go),
	KUNIT_CASE(back_out_names_who_did_not_come),
	KUNIT_CASE(hold_time_is_measured),
	KUNIT_CASE(late_kick_after_back_out_does_nothing),
	KUNIT_CASE(late_kick_does_not_count_for_the_next_hold),
	KUNIT_CASE_SLOW(two_initiators_make_progress),
	KUNIT_CASE_SLOW(n_initiators_make_progress),
	KUNIT_CASE(one_cpu_held_by_two_initiators),
	KUNIT_CASE(one_cpu_held_by_n_initiators),
	KUNIT_CASE_SLOW(new_hold_waits_for_who_was_held_long_to_go),
	KUNIT_CASE(kick_behind_a_held_cpus_call_arrives),
	KUNIT_CASE(nested_hold_is_refused),
	KUNIT_CASE(hold_from_interrupt_is_refused),
	KUNIT_CASE(hold_with_interrupts_off_is_refused),
	KUNIT_CASE(context_is_restored),
	KUNIT_CASE(held_cpus_leave_when_somebody_oopses),
	KUNIT_CASE_SLOW(offline_cpu_counts_as_done),
	{}
};

static struct kunit_suite cpusync_suite = {
	.name		= "cpusync",
	.init		= cpusync_test_init,
	.exit		= cpusync_test_exit,
	.test_cases	= cpusync_cases,
};

kunit_test_suite(cpusync_suite);

MODULE_DESCRIPTION("KUnit tests of the CPU rendezvous");
MODULE_LICENSE("GPL");
