# Rotation under load: writers with random values, rotations, re-encryption in workers, killed and cancelled at random. At
# the end every value decrypts to its twin in a plain column, none is under an earlier version, and the versions retire.
# Then on a standby, which becomes the primary in the middle of a job and goes on with it.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{PG_ENCRYPT_ORACLE_SECONDS} // 12;

my $primary = new_node('primary', init => { allows_streaming => 1 }, conf => 'restart_after_crash = on');
$primary->safe_psql('postgres', q{
	create role regress_owner;
	create role regress_writer login;
	grant create on schema public to regress_owner;
	select encrypt.create_key('k');
	select encrypt.grant_key('k', 'regress_writer', 'encrypt', 'decrypt', 'search');
	select encrypt.create_type('k_enc', key => 'k', searchable => true);
	create table t (id integer primary key, plain text, typed k_enc, free encrypt.ciphertext, token bytea) with (fillfactor = 70);
	alter table t owner to regress_owner;
	grant all on t to regress_writer;
	select encrypt.register_column('t', 'free', 'token', 'k', 'ctx', 'exact');
	create index on t (encrypt.token(typed));
	create index on t (token);
});
my $row = q{(random() * 2000)::integer, p, p, encrypt.encrypt_column(p, 'k', 'ctx'), encrypt.blind_index(p, 'k', 'ctx', 'exact')
	from (select md5(random()::text) || repeat('x', (random() * random() * 3000)::integer) as p offset 0) v};
$primary->safe_psql('postgres', qq{
	insert into t select i, p, p, encrypt.encrypt_column(p, 'k', 'ctx'), encrypt.blind_index(p, 'k', 'ctx', 'exact')
	from (select i, md5(random()::text) as p from generate_series(0, 3000) i offset 0) v;
});
append_to_file($primary->basedir . '/write.sql', qq{
insert into t select $row on conflict (id) do update
	set plain = excluded.plain, typed = excluded.typed, free = excluded.free, token = excluded.token;
update t set id = id where id between :client_id * 100 and :client_id * 100 + 3;
begin;
delete from t where id = (random() * 2000)::integer;
insert into t select $row on conflict do nothing;
rollback;
});
my @pgbench = ('pgbench', '-n', '-c4', '-j2', '-T', $seconds, '-U', 'regress_writer', '--max-tries=1000',
	'-f', $primary->basedir . '/write.sql', 'postgres');

sub wrong
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{
		select count(*) filter (where plain <> encrypt.decrypt_column(free, 'ctx')), count(*) filter (where plain <> typed::text),
			count(*) filter (where not token = any (encrypt.blind_index_all(plain, 'k', 'ctx', 'exact')))
		from t});
}

my ($out, $err) = ('', '');
local $ENV{PGHOST} = $primary->host;
local $ENV{PGPORT} = $primary->port;
my $writers = IPC::Run::start(\@pgbench, '>', \$out, '2>', \$err);
my $end     = time + $seconds;
my ($rotations, $kills, $wrong_meanwhile) = (0, 0, '');
my $admin = session($primary);
$admin->query_safe('set client_min_messages = error');
while (time < $end - 1)
{
	my $purpose = rand() < 0.7 ? 'column' : 'index';
	my $start   = $purpose eq 'column' ? 'start_reencryption' : 'start_reindexing';
	$admin->query_safe("select encrypt.rotate_key('k', '$purpose')");
	$rotations++;
	# One that runs already takes the new version into account.
	$admin->query_safe(qq{do \$\$ begin
			perform encrypt.start_workers(encrypt.$start('k', '{"batch_rows": 50, "max_attempts": 1000}'), 2);
		exception when object_not_in_prerequisite_state then null; end \$\$});
	usleep(rand() * 400_000);
	# Workers are ended or their statement cancelled, and started again.
	my $end_it = rand() < 0.5 ? 'pg_terminate_backend' : 'pg_cancel_backend';
	$kills += $admin->query_safe(
		"select count($end_it(pid)) from pg_stat_activity where backend_type = 'pg_encrypt worker' and random() < 0.5");
	usleep(rand() * 400_000);
	# It may finish at this moment.
	$admin->query_safe(q{do $$ begin
			perform encrypt.start_workers(job_id, 2) from encrypt.jobs where state = 'running';
		exception when object_not_in_prerequisite_state then null; end $$});
	my $now = wrong($primary);
	$wrong_meanwhile .= "$now\n" if $now ne '0|0|0';
}
$writers->finish;
is($err =~ /aborted|ERROR|FATAL/ ? $err : '', '', 'no writer failed');
cmp_ok($rotations, '>', 3, "there were $rotations rotations");
cmp_ok($kills, '>', 0, "$kills workers were killed or cancelled");
is($wrong_meanwhile, '', 'every value was its twin, and found, at every moment');

# Everything that is left is done in the foreground.
$primary->safe_psql('postgres', q{select encrypt.cancel_job(job_id) from encrypt.jobs where ended_at is null});
for my $start ('start_reencryption', 'start_reindexing')
{
	$primary->safe_psql('postgres', qq{
		set client_min_messages = warning;
		select encrypt.$start('k') as job \\gset
		call encrypt.run_job(:job);});
}
is(wrong($primary), '0|0|0', 'every value is its twin, and found, at the end');
is($primary->safe_psql('postgres', q{
		select purpose, count(*) from encrypt.key_usage('k') where "values" > 0 and state <> 'active' group by 1}),
	'', 'no value and no token is under an earlier version');
is($primary->safe_psql('postgres', q{
		select count(encrypt.retire_key(key_id)) > 0 from encrypt.keys
		where state = 'rotating' and purpose = 'column'}), 't', 'the earlier versions retire');
is(wrong($primary), '0|0|0', 'nothing needed them');

# A standby reads throughout, and becomes the primary half way.
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', q{
	set client_min_messages = error;
	select encrypt.rotate_key('k');
	select encrypt.start_reencryption('k', '{"batch_rows": 20, "pause_between": "50ms"}');
	select encrypt.start_workers(max(job_id), 1) from encrypt.jobs;
});
$primary->poll_query_until('postgres', q{
	select sum("values") filter (where state = 'active') > 200 from encrypt.key_usage('k') where purpose = 'column'})
	or die 'the job does not get on';
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
$primary->stop('immediate');
is(wrong($standby), '0|0|0', 'the standby reads values of both versions');
$standby->promote;
is($standby->safe_psql('postgres', q{
		select count(distinct state) from encrypt.key_usage('k') where purpose = 'column' and "values" > 0}),
	2, 'it was promoted half way');
$standby->safe_psql('postgres', q{
	set client_min_messages = warning;
	update encrypt.jobs set pause_between = '0' where state = 'running';
	select max(job_id) as job from encrypt.jobs \gset
	call encrypt.run_job(:job);});
is($standby->safe_psql('postgres', q{select state from encrypt.jobs order by job_id desc limit 1}), 'finished',
	'the job goes on where it was');
is(wrong($standby), '0|0|0', 'every value is its twin');
is($standby->safe_psql('postgres', q{
		select count(*) from encrypt.key_usage('k') where "values" > 0 and purpose = 'column' and state <> 'active'}),
	0, 'no value is under an earlier version');
$standby->stop;
done_testing();
