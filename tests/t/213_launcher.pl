# With the library preloaded, a launcher starts the workers of jobs again that were lost, and rotates keys that are due.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Jobs;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('launcher',
	conf => "shared_preload_libraries = 'pg_encrypt'\nrestart_after_crash = on\nmax_worker_processes = 12\n");
prepare_jobs($node);
my $alive = q{select count(*) from pg_stat_activity where backend_type = 'pg_encrypt launcher'};
$node->poll_query_until('postgres', $alive, '1') or die 'there is no launcher';
pass('the server has a launcher');

sub wait_until_finished
{
	my ($job, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "select state = 'finished' from encrypt.jobs where job_id = $job"),
		"$test_name: the job is finished without anybody's doing");
	seen_once($node, $test_name);
	return;
}

# A crash of the server in the midst of a job.
my $job = make_job($node, workers => 2, delay => 0.03);
wait_for_rows($node, 300);
my ($pid) = worker_pids($node);
kill 'KILL', $pid or die "kill: $!";
$node->wait_for_log(qr/all server processes terminated; reinitializing/);
$node->poll_query_until('postgres', 'select true') or die 'the server did not come back';
wait_until_finished($job, 'a crash');

# A restart, in two databases.
$node->safe_psql('postgres', 'create database second');
$node->safe_psql('second', 'create extension pg_encrypt');
$node->safe_psql('postgres', 'create database without');
prepare_jobs($node, dbname => 'second');
$job = make_job($node, workers => 1);
my $second = make_job($node, dbname => 'second', workers => 1);
wait_for_rows($node, 20);
wait_for_rows($node, 20, 'second');
my $begin = time;
$node->restart('fast');
cmp_ok(time - $begin, '<', 30, 'a launcher and workers delay no shutdown');
wait_until_finished($job, 'a restart');
ok($node->poll_query_until('second', "select state = 'finished' from encrypt.jobs where job_id = $second"),
	'a restart: the other database\'s job too');
seen_once($node, 'a restart, the other database', 'second');

# A worker that was terminated is started again: at the next minute, or when settings are loaded again.
$job = make_job($node, workers => 1, delay => 0.02);
wait_for_rows($node, 20);
$node->safe_psql('postgres', 'select pg_terminate_backend(pid) from encrypt._job_workers()');
wait_for_workers($node, 0);
$node->reload;
wait_until_finished($job, 'a terminated worker');

# Not those that nobody wants: paused, in the foreground, or ended.
$job = make_job($node, workers => 1, delay => 0.02);
$node->safe_psql('postgres', "select encrypt.pause_job($job)");
wait_for_workers($node, 0);
$node->reload;
sleep 2;
wait_for_workers($node, 0);
pass('a paused job gets no workers');
$node->safe_psql('postgres', "select encrypt.cancel_job($job)");
$job = make_job($node);
$node->reload;
sleep 2;
is($node->safe_psql('postgres', 'select count(*) from job_log'), 0, 'a job that asked for no workers gets none');
$node->safe_psql('postgres', "select encrypt.cancel_job($job)");

# Databases that go, and one that takes no connections.
$node->safe_psql('postgres', 'drop database second');
$node->safe_psql('postgres', 'alter database without allow_connections false');
$node->reload;
sleep 1;
is($node->safe_psql('postgres', $alive), 1, 'the launcher survives');

# Keys that are due: only if it was asked for.
$node->safe_psql('postgres', q{
	select encrypt.create_key('due', '1 second'), encrypt.create_key('young');
	create table secrets (v encrypt.ciphertext);
	insert into secrets select encrypt.encrypt_column(i::text, 'due') from generate_series(1, 100) as i;
	select encrypt.register_column('secrets', 'v', key => 'due', context => '');
	select pg_sleep(1.1);
});
$node->reload;
sleep 2;
my $versions = q{select string_agg(format('%s %s', name, version), ', ' order by name) from encrypt.keys
	where purpose = 'column' and state = 'active'};
is($node->safe_psql('postgres', $versions), 'due 1, young 1', 'keys are not rotated unasked');
$node->append_conf('postgresql.conf', "pg_encrypt.rotate_due_keys = on\n");
$node->reload;
ok($node->poll_query_until('postgres', "select ($versions) = 'due 2, young 1'"), 'a key that is due is rotated');
ok($node->poll_query_until('postgres', q{select state = 'finished' from encrypt.jobs where subject = 'due' order by job_id limit 1}),
	're-encryption follows by itself');
is($node->safe_psql('postgres', q{select count(distinct encrypt.decrypt_column(v)) from secrets}), 100, 'values are as they were');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|pg_encrypt launcher" \(PID \d+\) exited with exit code 1/, 'the launcher never failed');

# It ends at once, and silently.
$begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 30, 'it ends with the server');
done_testing();
