# SPDX-License-Identifier: GPL-2.0
# One word per duty; each is a script in scripts/ with a usage line on top.

# The series to work on (patches/$(BASE)).
BASE ?= 7.3
# Any kernel tree of that version instead of the packaged one; it is only read.
KDIR ?=
# vCPUs of the guests, one number or several; empty: each duty's own default.
CPUS ?=
# Parallel jobs of a build.
JOBS ?= $(shell nproc)

export BASE KDIR CPUS JOBS
# Make's own flags and job server are not for the kernel builds below.
unexport MAKEFLAGS MFLAGS MAKELEVEL

.PHONY: help deps compare layout prevalence test hunt suites open save check bisect lint models mutants debug torture rendezvous clean

help:
	@echo 'make compare   build stock and series, boot both, run the workloads, print the table (QUICK=1: fewer rows, LONG=1: all; UPTO=: only the first so many patches)'
	@echo 'make test      prove the series: check, git am, build, KUnit on 1 and 4 vCPUs, self-tests (LONG=1: longer)'
	@echo 'make hunt      ten million operations under the stale-translation hunters, stock and each mode; resumes (OPERATIONS=: so many)'
	@echo 'make suites    mm and x86 self-tests of the kernel, and stress-ng: stock, off, on and hold alike; resumes'
	@echo 'make prevalence  how often full flushes are about few pages, in real programs'
	@echo 'make open      build/linux: the base kernel with the series applied by git am'
	@echo 'make save      store the commits of build/linux as patches and mirrored files (KTREE=: of another tree)'
	@echo 'make check     patches, series file and mirrored files agree; with build/linux also style and docs'
	@echo 'make bisect    every patch of the series builds (on, off, UP, 32 bit), boots and passes what exists by then; resumes'
	@echo 'make lint      what W=1, sparse, coccicheck and kernel-doc say of every patch, and Sphinx of the documents; resumes'
	@echo 'make torture   a million rendezvous on 2, 4 and 8 vCPUs; resumes (RENDEZVOUS=: so many)'
	@echo 'make rendezvous  what a rendezvous costs, next to a bare call and to stop_machine()'
	@echo 'make layout    what size and layout of the log would have been enough for what CPUs have missed'
	@echo 'make models    verify the models with SPIN, and that weakened ones fail'
	@echo 'make mutants   seeded faults: build each, and see that the test that it names fails'
	@echo 'make debug     kernels with other options (UP, 32 bit, clang, RT, KASAN, KCSAN, ...) build and pass; resumes (ROW=: only these)'
	@echo 'make deps      install what is missing (done by the others when needed)'
	@echo 'make clean     remove build/; the cache outside the checkout stays'
	@echo
	@echo 'BASE=$(BASE)  KDIR=a $(BASE) kernel tree instead of the packaged one  CPUS=vCPUs  JOBS=$(JOBS)'

deps:
	@scripts/deps

compare:
	@scripts/bench-run

layout:
	@scripts/layout-run

test:
	@scripts/test-run $(if $(filter-out 0,$(LONG)),--long)

hunt:
	@scripts/hunt-run

suites:
	@scripts/suites-run

prevalence:
	@scripts/prevalence-run

open:
	@scripts/series-open

save:
	@scripts/series-save

check:
	@scripts/series-check

bisect:
	@scripts/series-bisect

lint:
	@scripts/lint-run

models:
	@scripts/models-run

mutants:
	@scripts/mutants-run

debug:
	@scripts/debug-run $(ROW)

torture:
	@scripts/torture-run

rendezvous:
	@scripts/rendezvous-run

clean:
	@scripts/series-open --clean
