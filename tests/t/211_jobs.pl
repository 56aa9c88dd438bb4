# Jobs and what ends processes: kill -9, terminate, cancel, shutdowns, a crash of the server, a full disk. Whatever happens,
# the job goes on from what was committed, and every row is handled exactly once.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Jobs;
use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('jobs', conf => "restart_after_crash = on\nmax_worker_processes = 12\n");
prepare_jobs($node);

# Runs CODE and passes if it took far less than the ten minutes of a batch, or of a wait.
sub ends_at_once
{
	my ($test_name, $code) = @_;
	my $begin = time;
	$code->();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(time - $begin, '<', 60, "$test_name: at once");
	return;
}

# Workers share the chunks.
my $holder = session($node);
my $waiting = q{select count(*) from pg_stat_activity
	where wait_event_type = 'Lock' and pid in (select pid from encrypt._job_workers())};
my $job = make_job($node);
# The first is not done before the last has begun.
$holder->query_safe('begin; lock table job_log in exclusive mode');
$node->safe_psql('postgres', "select encrypt.start_workers($job, 3)");
$node->poll_query_until('postgres', $waiting, '3') or die 'not all workers have a batch';
$holder->query_safe('commit');
$node->poll_query_until('postgres', "select state = 'finished' from encrypt.jobs where job_id = $job") or die;
seen_once($node, 'three workers');
is($node->safe_psql('postgres', 'select count(distinct pid) from job_log'), 3, 'each of them did a part');
wait_for_workers($node, 0);
pass('they end with the job');

# pg_terminate_backend and pg_cancel_backend, in the midst of a batch.
for my $how (qw(pg_terminate_backend pg_cancel_backend))
{
	$job = make_job($node, delay => 600, workers => 1);
	$node->poll_query_until('postgres', q{select wait_event = 'PgSleep' from pg_stat_activity
		where pid in (select pid from encrypt._job_workers())}) or die;
	ends_at_once($how, sub {
		$node->safe_psql('postgres', "select $how(pid) from encrypt._job_workers()");
		wait_for_workers($node, 0);
	});
	is(job_state($node, $job), 'running', "$how: the job is as it was");
	is($node->safe_psql('postgres', 'select count(*) from job_log'), 0, "$how: the batch was undone");
	$node->safe_psql('postgres', "select encrypt.cancel_job($job)");
}

# In the pause between two batches, outside of any transaction. The worker's place is free then, or nobody could be started.
for my $how (qw(pg_terminate_backend pg_cancel_backend))
{
	$job = make_job($node, delay => 0, options => '{"pause_between": "1 hour"}', workers => 1);
	$node->poll_query_until('postgres', "select count(*) = 1 from encrypt._job_workers() join pg_stat_activity using (pid)
		where xact_start is null and exists (select from job_log)") or die;
	$node->safe_psql('postgres', "select $how(pid) from encrypt._job_workers()");
	wait_for_workers($node, 0);
	is($node->safe_psql('postgres', "select count(*) from pg_locks where locktype = 'object' and classid = 'encrypt.job_chunks'::regclass"),
		0, "$how in a pause: the place is free");
	$node->safe_psql('postgres', "update encrypt.jobs set pause_between = '0' where job_id = $job");
	is($node->safe_psql('postgres', "select encrypt.start_workers($job, 1)"), 1, "$how in a pause: another worker is started");
	finishes($node, $job, "$how in a pause");
}

# In a wait for a lock.
$job = make_job($node, workers => 2);
$holder->query_safe('begin; lock table job_log in access exclusive mode');
$node->poll_query_until('postgres', "select ($waiting) > 0") or die;
ends_at_once('terminated in a wait for a lock', sub {
	$node->safe_psql('postgres', 'select pg_terminate_backend(pid) from encrypt._job_workers()');
	$node->poll_query_until('postgres', 'select count(*) = 0 from encrypt._job_workers()') or die;
});
$holder->query_safe('commit');
finishes($node, $job, 'terminated in a wait for a lock');

# statement_timeout and a cancelled session, in the foreground; the session's settings are left alone.
$job = make_job($node);
my $session = session($node);
my ($sqlstate) = session_error($session, "set statement_timeout = '500ms'; call encrypt.run_job($job);");
is($sqlstate, '57014', 'statement_timeout ends a job in the foreground');
is($session->query_safe('show lock_timeout'), '0', 'lock_timeout is as it was');
is($session->query_safe('show session_replication_role'), 'origin', 'and the role in replication');
is($session->query_safe('select current_user'), 'postgres', 'and the user');
my $rows = $node->safe_psql('postgres', 'select count(*) from job_log');
cmp_ok($rows, '>', 0, 'what was committed before stays');
$session->query_safe('reset statement_timeout');
finishes($node, $job, 'after statement_timeout');
$session->quit;

# kill -9 of a worker: the server restarts, and without the launcher workers have to be asked for again.
$job = make_job($node, workers => 2, delay => 0.03);
wait_for_rows($node, 300);
my ($pid) = worker_pids($node);
kill 'KILL', $pid or die "kill: $!";
$node->wait_for_log(qr/all server processes terminated; reinitializing/);
$node->poll_query_until('postgres', 'select true') or die 'the server did not come back';
is(job_state($node, $job), 'running', 'killed: the job is as it was');
cmp_ok($node->safe_psql('postgres', 'select count(*) from job_log'), '>=', 300, 'killed: what was committed is there');
is(scalar(worker_pids($node)), 0, 'killed: workers do not come back by themselves');
is($node->safe_psql('postgres', "select encrypt.start_workers($job, 2)"), 2, 'killed: they are started again');
$node->poll_query_until('postgres', "select state = 'finished' from encrypt.jobs where job_id = $job") or die;
finishes($node, $job, 'killed');
$holder->quit;

# A fast shutdown in the midst of a batch, and an immediate one.
for my $mode (qw(fast immediate))
{
	$job = make_job($node, workers => 2, delay => $mode eq 'fast' ? 0.3 : 0.01);
	wait_for_rows($node, 20);
	ends_at_once("$mode shutdown", sub { $node->stop($mode) });
	$node->start;
	cmp_ok($node->safe_psql('postgres', 'select count(*) from job_log'), '>=', 20, "$mode shutdown: committed batches stay");
	if ($mode eq 'fast')
	{
		$node->safe_psql('postgres', "select encrypt.cancel_job($job)");
		next;
	}
	finishes($node, $job, "$mode shutdown");
}

# No slot for another process: an error, and nothing is changed.
$job = make_job($node);
my $said = fails_with($node, "select encrypt.start_workers($job, 64)", '53400', 'more workers than the server has room for');
like($said, qr/max_worker_processes/, 'it says which setting');
wait_for_workers($node, 0);
is($node->safe_psql('postgres', "select workers from encrypt.jobs where job_id = $job"), 0, 'those that were started have left');
finishes($node, $job, 'no slot');

# A transaction that starts workers and is rolled back; one that takes its time.
$node->safe_psql('postgres', q{truncate job_log; begin; select make_job('{}', 'select array[1]') as job \gset
	select encrypt.start_workers(:job, 2); rollback;});
wait_for_workers($node, 0);
is($node->safe_psql('postgres', q{select count(*) from encrypt.jobs where state = 'running'}), 0, 'rolled back: no job');
my $log = slurp_file($node->logfile);
unlike($log, qr/job \d+ does not exist/, 'rolled back: workers leave in silence');

# The number of workers is changed while it runs.
$job = make_job($node, workers => 3, delay => 0.05);
# One that has just been started may not have begun.
$node->poll_query_until('postgres', 'select count(distinct pid) = 3 from job_log') or die 'three workers were asked for';
is($node->safe_psql('postgres', "select encrypt.start_workers($job, 3)"), 0, 'enough workers: none is started');
is($node->safe_psql('postgres', "select encrypt.start_workers($job, 1)"), 0, 'fewer workers: none is started');
$node->poll_query_until('postgres', "select count(*) <= 1 from encrypt._job_workers()") or die;
$node->safe_psql('postgres', "select encrypt.pause_job($job)");
wait_for_workers($node, 0);
is($node->safe_psql('postgres', "select encrypt.resume_job($job); select encrypt.start_workers($job, 2)"), "\n2", 'more again');
finishes($node, $job, 'workers changed');

# Paused and resumed again and again with workers asked for right afterwards: never ends up with none. Long before its end.
$job = make_job($node, workers => 1, delay => 0.05);
for (1 .. 40)
{
	$node->safe_psql('postgres', "select encrypt.pause_job($job)");
	$node->safe_psql('postgres', "select encrypt.resume_job($job); select encrypt.start_workers($job, 1)");
}
wait_for_workers($node, 1);
is(job_state($node, $job), 'running', 'paused and resumed at once: the job has its worker');
$node->safe_psql('postgres', "select encrypt.start_workers($job, 8)");
finishes($node, $job, 'paused and resumed at once');

# The extension, or the database, goes while a job runs.
$node->safe_psql('postgres', 'create database other');
$node->safe_psql('other', 'create extension pg_encrypt');
prepare_jobs($node, dbname => 'other');
make_job($node, dbname => 'other', workers => 1);
wait_for_rows($node, 20, 'other');
$node->safe_psql('other', 'drop extension pg_encrypt cascade');
$node->poll_query_until('postgres', q{select count(*) = 0 from pg_stat_activity where backend_type = 'pg_encrypt worker'})
  or die 'the worker outlives the extension';
pass('a worker ends with the extension');
$node->safe_psql('other', 'drop function make_job; drop table job_rows, job_log; create extension pg_encrypt');
prepare_jobs($node, dbname => 'other');
make_job($node, dbname => 'other', workers => 1);
wait_for_rows($node, 20, 'other');
$node->safe_psql('postgres', 'drop database other with (force)');
$node->poll_query_until('postgres', q{select count(*) = 0 from pg_stat_activity where backend_type = 'pg_encrypt worker'})
  or die 'the worker outlives the database';
pass('a worker ends with the database');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'nothing crashed but what was killed');

$node->stop;
done_testing();
