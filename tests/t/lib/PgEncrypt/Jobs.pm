package PgEncrypt::Jobs;

=head1 NAME

PgEncrypt::Jobs - jobs that write down which rows they saw, for system tests

=head1 SYNOPSIS

  use PgEncrypt::Jobs;

  prepare_jobs($node);
  my $job = make_job($node, options => '{"batch_rows": 100}');
  wait_for_rows($node, 1000);
  finishes($node, $job, 'after a crash');

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PgEncrypt::Test;
use Test::More;

our @EXPORT = qw(prepare_jobs make_job wait_for_rows wait_for_workers worker_pids seen_once finishes job_state);

=head1 FUNCTIONS

=head2 prepare_jobs(NODE, [dbname => NAME,] [rows => NUMBER])

Makes the table job_rows, of a row per block and in chunks of 100 blocks, its owner regress_jobs_owner, and the table job_log
where batches write down the rows that they handled.

=cut

sub prepare_jobs
{
	my ($node, %options) = @_;
	my $rows = $options{rows} // 3000;

	$node->safe_psql($options{dbname} // 'postgres', qq{
		do \$\$ begin
			if to_regrole('regress_jobs_owner') is null then create role regress_jobs_owner; end if;
		end \$\$;
		create table job_rows (id integer primary key, done boolean default false, filler text)
			with (autovacuum_enabled = off, fillfactor = 10);
		create table job_log (id integer, xid text default pg_current_xact_id()::text, pid integer default pg_backend_pid());
		alter table job_rows owner to regress_jobs_owner;
		alter table job_log owner to regress_jobs_owner;
		insert into job_rows (id, filler) select g, repeat('x', 500) from generate_series(1, $rows) as g;
		analyze job_rows;
		create function make_job(options jsonb, statement text) returns integer language plpgsql as \$\$
		declare
			job integer := encrypt._create_job('reencrypt', 'jobs', options);
			task integer := encrypt._add_task(job, 'job_rows', statement, null);
		begin
			delete from encrypt.job_chunks c where c.job_id = job;
			insert into encrypt.job_chunks (job_id, task, chunk, first_block, next_block, end_block)
			select job, task, b / 100 + 1, b, b, least(b + 100, encrypt._blocks('job_rows'))
			from generate_series(0, encrypt._blocks('job_rows') - 1, 100) as b;
			return job;
		end \$\$;
	});
	return;
}

=head2 make_job(NODE, [dbname => NAME,] [options => JSON,] [statement => SQL,] [delay => SECONDS,] [workers => NUMBER])

Empties the log and makes a job; its number. Batches take ten rows and DELAY, 0.01 seconds if left out.

=cut

sub make_job
{
	my ($node, %options) = @_;
	my $settings  = $options{options} // '{"batch_rows": 10, "max_attempts": 3}';
	my $delay     = $options{delay}   // 0.01;
	my $statement = $options{statement} // qq{
		with seen as (insert into public.job_log (id)
		              select t.id from only public.job_rows as t where t.ctid >= \$1 and t.ctid < \$2 returning 1),
		     counted as (select count(*) as n from seen)
		select array[n] from counted, lateral (select pg_sleep($delay) where n >= 0) as s};
	my $start = $options{workers} ? "select encrypt.start_workers(:job, $options{workers});" : '';

	my $answer = $node->safe_psql($options{dbname} // 'postgres', qq{
		truncate job_log;
		begin;
		select make_job('$settings', \$statement\$$statement\$statement\$) as job \\gset
		$start
		commit;
		\\echo :job
	});
	my ($job) = $answer =~ /(\d+)\z/;
	return $job;
}

=head2 wait_for_rows(NODE, NUMBER, [DBNAME])

Waits until batches that handled that many rows are committed.

=cut

sub wait_for_rows
{
	my ($node, $rows, $dbname) = @_;
	$node->poll_query_until($dbname // 'postgres', "select count(*) >= $rows from job_log")
	  or die 'the job did not get on';
	return;
}

=head2 wait_for_workers(NODE, NUMBER)

Waits until that many workers are running, or have ended.

=cut

sub wait_for_workers
{
	my ($node, $workers) = @_;
	$node->poll_query_until('postgres', 'select count(*) from encrypt._job_workers()', $workers)
	  or die 'there are not as many workers as there should be';
	return;
}

=head2 worker_pids(NODE)

=cut

sub worker_pids
{
	my ($node) = @_;
	return split /\n/, $node->safe_psql('postgres', 'select pid from encrypt._job_workers() order by number');
}

=head2 job_state(NODE, JOB)

=cut

sub job_state
{
	my ($node, $job) = @_;
	return $node->safe_psql('postgres', "select state from encrypt.jobs where job_id = $job");
}

=head2 seen_once(NODE, TEST NAME, [DBNAME])

Passes if committed batches handled every row exactly once.

=cut

sub seen_once
{
	my ($node, $test_name, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($dbname // 'postgres', q{
			select (select count(*) from job_rows r where not exists (select from job_log l where l.id = r.id)) as missing,
			       (select count(*) - count(distinct id) from job_log) as doubled}),
		'0|0', "$test_name: every row was handled exactly once");
	return;
}

=head2 finishes(NODE, JOB, TEST NAME)

Runs the job in a session, beside the workers that it may have. Passes if it finishes and every row was handled exactly once.

=cut

sub finishes
{
	my ($node, $job, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	# Refused where a worker has just finished it.
	my $said = '';
	$node->psql('postgres', "call encrypt.run_job($job)", stderr => \$said);
	is(job_state($node, $job), 'finished', "$test_name: the job is finished") or diag($said);
	seen_once($node, $test_name);
	return;
}

1;
