# Point-in-time recovery to moments of a rotation: before it, between its steps, amidst re-encryption and re-indexing in workers while the
# application writes, after the earlier version was retired and destroyed. Each recovered server reads and finds every
# value, says truly how many are under which version, and goes on with the job to its end.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Recovery;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => { has_archiving => 1, allows_streaming => 1 }, conf => 'jit = off');
$primary->safe_psql('postgres', q{
	select encrypt.create_key('k');
	select encrypt.create_type('k_enc', key => 'k', searchable => true);
	create table t (id integer primary key, plain text, typed k_enc, free encrypt.ciphertext, token bytea) with (fillfactor = 70);
	select encrypt.register_column('t', 'free', 'token', 'k', 'ctx', 'exact');
	create index on t (encrypt.token(typed));
	create index on t (token);
	create function seal(plain text) returns table (typed k_enc, free encrypt.ciphertext, token bytea) language sql volatile as
		$$ select plain::k_enc, encrypt.encrypt_column(plain, 'k', 'ctx'), encrypt.blind_index(plain, 'k', 'ctx', 'exact') $$;
	insert into t select i, i || md5(i::text), s.* from generate_series(1, 3000) i, seal(i || md5(i::text)) s;
	analyze t;
});
$primary->backup('base');

# The application writes while the jobs are at work.
append_to_file($primary->basedir . '/write.sql', q{
\set id random(1, 4000)
\set old random(1, 3000)
insert into t select :id, p, s.* from (select md5(random()::text) as p offset 0) v, seal(p) s
	on conflict (id) do update set plain = excluded.plain, typed = excluded.typed, free = excluded.free, token = excluded.token;
delete from t where id = :old and id % 10 = 0;
});
local $ENV{PGHOST} = $primary->host;
local $ENV{PGPORT} = $primary->port;
my ($out, $err) = ('', '');
my $writers = IPC::Run::start([ 'pgbench', '-n', '-c2', '-T', 120, '-R', 100, '-f', $primary->basedir . '/write.sql', 'postgres' ],
	'>', \$out, '2>', \$err);

my $last_job = '(select max(job_id) from encrypt.jobs)';
my @points;

sub point
{
	my ($name) = @_;
	restore_point($primary, $name);
	push @points, [ recovery_target_name => $name ];
	return;
}

sub works_until
{
	my ($condition) = @_;
	$primary->poll_query_until('postgres', $condition) or die "never: $condition";
	return;
}

point('before the rotation');
$primary->safe_psql('postgres', q{select encrypt.rotate_key('k')});
point('rotated');
$primary->safe_psql('postgres', qq{
	select encrypt.start_reencryption('k', '{"batch_rows": 40, "pause_between": "100ms"}');
	select encrypt.start_workers($last_job, 2)});
my $done = "select \"values\" > %s from encrypt.key_usage('k') where purpose = 'column' and state = 'active' and relation = 't'::regclass
	and \"column\" = 'free'";
works_until(sprintf $done, 1000);
point('half of the values');
# Anywhere: amidst a batch.
push @points, [ recovery_target_lsn => wal_position($primary) ];
$primary->safe_psql('postgres', "update encrypt.jobs set pause_between = '5ms' where job_id = $last_job");
works_until("select state = 'finished' from encrypt.jobs where job_id = $last_job");
$primary->safe_psql('postgres', qq{
	set client_min_messages = error;
	select encrypt.rotate_key('k', 'index');
	select encrypt.start_reindexing('k', '{"batch_rows": 40, "pause_between": "5ms"}');
	select encrypt.start_workers($last_job, 2)});
works_until("select coalesce(counts[1], 0) > 500 or state = 'finished' from encrypt.jobs where job_id = $last_job");
point('half of the tokens');
works_until("select state = 'finished' from encrypt.jobs where job_id = $last_job");
$writers->signal('INT');
$writers->finish;
unlike($err, qr/ERROR|FATAL|aborted/, 'no writer failed');
$primary->safe_psql('postgres', q{
	select encrypt.retire_key(key_id) from encrypt.keys where state = 'rotating' and purpose = 'column'});
point('retired');
$primary->safe_psql('postgres', q{
	select encrypt.destroy_key(key_id, 'k') from encrypt.keys where state = 'retired' and purpose = 'column'});
point('destroyed');
archive_all($primary);
$primary->stop('immediate');

my $wrong = q{
	select count(*) filter (where plain <> encrypt.decrypt_column(free, 'ctx')), count(*) filter (where plain <> typed::text),
		count(*) filter (where not token = any (encrypt.blind_index_all(plain, 'k', 'ctx', 'exact'))),
		count(*) > 2000
	from t};
# By the values themselves, against what is told.
my $usage = q{
	with counted as (
		select k.key_id, count(*) as n from t, unnest(array[encrypt._key_id_of(free), encrypt._key_id_of(typed)]) as k (key_id) group by 1),
	told as (
		select key_id, sum("values") as n from encrypt.key_usage('k') where purpose = 'column' and relation = 't'::regclass group by 1 having sum("values") > 0)
	select count(*) from counted full join told using (key_id) where counted.n is distinct from told.n};
my $earlier = q{select coalesce(sum("values"), 0) from encrypt.key_usage('k') where purpose = 'column' and state <> 'active'};

my %seen;
for my $point (@points)
{
	my ($setting, $value) = @$point;
	my $when = $setting eq 'recovery_target_lsn' ? 'amidst a batch' : $value;
	my $node = recovered($primary, $setting, $value);
	is($node->safe_psql('postgres', $wrong), '0|0|0|t', "$when: every value is its plaintext, and found");
	is($node->safe_psql('postgres', $usage), '0', "$when: key_usage tells what is so");
	$seen{$when} = $node->safe_psql('postgres', $earlier);

	# To the end, from wherever it is.
	$node->safe_psql('postgres', q{select encrypt.rotate_key('k')}) if $when eq 'before the rotation';
	if ($node->safe_psql('postgres', q{select count(*) from encrypt.jobs where kind = 'reencrypt'}) eq '0')
	{
		$node->safe_psql('postgres', q{select encrypt.start_reencryption('k')});
	}
	for my $job (split /\n/, $node->safe_psql('postgres', q{select job_id from encrypt.jobs where ended_at is null order by 1}))
	{
		$node->safe_psql('postgres', qq{
			set client_min_messages = error;
			update encrypt.jobs set pause_between = '0' where job_id = $job;
			call encrypt.run_job($job)});
		is($node->safe_psql('postgres', "select state from encrypt.jobs where job_id = $job"), 'finished', "$when: the job goes on to its end");
	}
	is($node->safe_psql('postgres', $earlier), '0', "$when: nothing is left under an earlier version");
	$node->safe_psql('postgres', q{
		select encrypt.retire_key(key_id) from encrypt.keys where state = 'rotating' and purpose = 'column';
		select encrypt.destroy_key(key_id, 'k') from encrypt.keys where state = 'retired' and purpose = 'column' and destroyed_at is null});
	is($node->safe_psql('postgres', $wrong), '0|0|0|t', "$when: every value is read without it");
	# A rotation that is begun here is another one than the primary's.
	$node->safe_psql('postgres', q{
		select encrypt.rotate_key('k');
		insert into t select 5000, 'new', s.* from seal('new') s});
	is($node->safe_psql('postgres', $wrong), '0|0|0|t', "$when: and it is rotated again");
	$node->stop('immediate');
}
for my $when ('half of the values', 'amidst a batch')
{
	cmp_ok($seen{$when}, '>', 0, "$when: $seen{$when} values were to be moved");
	cmp_ok($seen{$when}, '<', $seen{'rotated'}, "$when: others had been");
}
done_testing();
