# Jobs and what happens to their tables meanwhile: rewritten, truncated, dropped, given away; deadlocks and vacuum; a replica that
# lags; memory.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Jobs;
use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('tables', init => { allows_streaming => 1 }, conf => "max_worker_processes = 12\nautovacuum = off\n");
prepare_jobs($node);

# A statement that does nothing to rows that it has seen: it may be repeated.
my $idempotent = q{with seen as (update only public.job_rows as t set done = true
	where t.ctid >= $1 and t.ctid < $2 and not t.done returning t.id),
	logged as (insert into public.job_log (id) select id from seen returning 1)
	select array[count(*)] from logged, lateral (select pg_sleep(0.001)) as s};

# Rewritten in the midst of it.
for my $how ('vacuum full job_rows', 'cluster job_rows using job_rows_pkey')
{
	$node->safe_psql('postgres', 'update job_rows set done = false; vacuum full job_rows; analyze job_rows');
	my $job = make_job($node, statement => $idempotent, workers => 2, options => '{"batch_rows": 10, "pause_between": "5 ms"}');
	wait_for_rows($node, 100);
	my $file = $node->safe_psql('postgres', q{select pg_relation_filenode('job_rows')});
	$node->safe_psql('postgres', $how);
	finishes($node, $job, $how);
}

# Given to another owner, who may not write the log; then again to one who may.
$node->safe_psql('postgres', 'create role regress_jobs_poor');
my $job = make_job($node, workers => 1);
wait_for_rows($node, 20);
$node->safe_psql('postgres', 'alter table job_rows owner to regress_jobs_poor');
$node->poll_query_until('postgres', "select state = 'failed' from encrypt.jobs where job_id = $job") or die;
like($node->safe_psql('postgres', "select last_error from encrypt.jobs where job_id = $job"),
	qr/permission denied for table job_log \(SQLSTATE 42501\), in block/, 'an owner without rights: failed, with the reason');
wait_for_workers($node, 0);
$node->safe_psql('postgres', "alter table job_rows owner to regress_jobs_owner; select encrypt.resume_job($job)");
finishes($node, $job, 'an owner without rights');

# A deadlock with the application: it is the batch that gives in.
$node->safe_psql('postgres', 'update job_rows set done = false');
my $holder = session($node);
$holder->query_safe('begin; update job_rows set filler = filler where id = 10');
$job = make_job($node, statement => $idempotent, workers => 1, options => '{"batch_rows": 100}');
$node->poll_query_until('postgres', q{select count(*) > 0 from pg_stat_activity
	where wait_event_type = 'Lock' and pid in (select pid from encrypt._job_workers())}) or die;
my ($sqlstate, $said) = session_error($holder, 'update job_rows set filler = filler where id in (1, 2, 3); commit;');
is($sqlstate, undef, 'the statement of the application is not the victim') or diag($said);
finishes($node, $job, 'a deadlock');
$holder->quit;

# Between batches neither a worker nor a session that runs a job holds back VACUUM.
$job = make_job($node, options => '{"batch_rows": 10, "pause_between": "1 hour"}', workers => 1);
my $runner = session($node);
my $pid = backend_pid($runner);
$runner->query_safe('set client_min_messages = warning');
session_start($runner, "call encrypt.run_job($job)");
$node->poll_query_until('postgres', 'select count(distinct pid) = 2 from job_log') or die 'both should have made a batch';
my $held = qq{select count(*) from pg_stat_activity
	where (backend_xmin is not null or backend_xid is not null)
	  and (pid = $pid or pid in (select pid from encrypt._job_workers()))};
# A look at the job every second takes a moment: of ten looks, most find them at rest.
my $found = 0;
$found += $node->safe_psql('postgres', $held) > 0 for 1 .. 10;
cmp_ok($found, '<', 5, 'at rest nobody holds a snapshot or a transaction id');
is($node->safe_psql('postgres', qq{select count(*) from pg_locks where relation = 'job_rows'::regclass}), 0, 'or a lock on the table');
# And they notice what is said to them.
$node->safe_psql('postgres', "select encrypt.cancel_job($job)");
wait_for_workers($node, 0);
$runner->query_safe('select 1');
pass('cancelled while they rest, both leave');
$runner->quit;

# Memory, over many batches.
sub memory_of
{
	my ($process) = @_;
	my ($anonymous) = slurp_file("/proc/$process/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return $anonymous;
}
SKIP:
{
	skip 'no /proc', 2 unless -r '/proc/self/status';
	for my $place (qw(worker session))
	{
		# The block of row 2600 is waited at, so that its process is there to be looked at.
		$job = make_job($node, delay => q{case when $1 >= '(2600,0)' then 600 else 0 end}, options => '{"batch_rows": 1}',
			workers => $place eq 'worker' ? 1 : 0);
		my $session = session($node);
		my $process;
		if ($place eq 'session')
		{
			$process = backend_pid($session);
			$session->query_safe('set client_min_messages = warning');
			session_start($session, "call encrypt.run_job($job)");
		}
		wait_for_rows($node, 500);
		($process) = worker_pids($node) if $place eq 'worker';
		my $before = memory_of($process);
		wait_for_rows($node, 2500);
		my $after = memory_of($process);
		# A kilobyte for each batch would be a leak. Less than that comes and goes in steps of some 700 kB, as malloc gets
		# memory from the system: 1.4 MB in 8,000 batches, half of which went back.
		cmp_ok($after - $before, '<', 2000, "a $place uses no more memory after 2,000 batches ($before kB, $after kB)");
		$node->safe_psql('postgres', "select encrypt.cancel_job($job); select pg_cancel_backend($process)");
		wait_for_workers($node, 0);
		$session->query('');
		$session->quit;
	}
}

# Dropped in the midst of it: nothing is left to do.
$job = make_job($node, workers => 2);
wait_for_rows($node, 100);
$node->safe_psql('postgres', 'drop table job_rows');
$node->poll_query_until('postgres', "select state = 'finished' from encrypt.jobs where job_id = $job") or die;
wait_for_workers($node, 0);
pass('a dropped table ends its job');
$node->safe_psql('postgres', 'drop function make_job; drop table job_log');
prepare_jobs($node);

# A replica that lags.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "recovery_min_apply_delay = '1h'\n");
$standby->start;
$node->poll_query_until('postgres', q{select count(*) = 1 from pg_stat_replication where state = 'streaming'}) or die;
$job = make_job($node, workers => 1, options => '{"batch_rows": 10, "max_replica_lag": 100000}');
$node->poll_query_until('postgres', q{select max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) > 100000 from pg_stat_replication})
  or die;
my $rows = $node->safe_psql('postgres', 'select pg_sleep(0.5); select count(*) from job_log');
is($node->safe_psql('postgres', 'select pg_sleep(1); select count(*) from job_log'), $rows, 'it waits for the replica');
cmp_ok($rows =~ s/\s//gr, '<', 3000, 'before it is done');
fails_with($standby, "call encrypt.run_job($job)", '25006', 'a standby runs no jobs');
$standby->append_conf('postgresql.conf', "recovery_min_apply_delay = 0\n");
$standby->reload;
finishes($node, $job, 'a replica that lagged');

# Promoted in the midst of a job: it goes on from what was replicated.
$job = make_job($node, workers => 1);
wait_for_rows($node, 200);
$node->wait_for_catchup($standby, 'replay', $node->lsn('write'));
$node->stop('immediate');
$standby->promote;
cmp_ok($standby->safe_psql('postgres', 'select count(*) from job_log'), '>=', 200, 'a promoted standby has what was done');
finishes($standby, $job, 'a promoted standby');
$standby->stop;
done_testing();
