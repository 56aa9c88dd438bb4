# Processes that come from one parent draw nonces of their own (case C-20): with the library preloaded by the
# postmaster, many backends and parallel workers encrypt, and no nonce occurs twice, no epoch in two processes.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($clients, $transactions, $rows) = (24, 20, 500);

my $node = new_node('fork', conf => <<'CONF');
shared_preload_libraries = 'pg_encrypt'
max_parallel_workers = 4
max_parallel_workers_per_gather = 4
CONF

# pg_backend_pid() is parallel restricted, which would keep the plan out of workers; here it tells them apart.
$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table v (pid integer, value encrypt.ciphertext);
	create table source as select i from generate_series(1, 40000) i;
	alter table source set (parallel_workers = 4);
	analyze source;
	create function process() returns integer language internal volatile parallel safe as 'pg_backend_pid';
});

my $script = "$PostgreSQL::Test::Utils::tmp_check/insert.sql";
append_to_file($script,
	"insert into v select process(), encrypt.encrypt_column(i::text) from generate_series(1, $rows) i;\n");
$node->command_ok(
	[ 'pgbench', '--no-vacuum', '--client', $clients, '--transactions', $transactions, '--file', $script, 'postgres' ],
	"$clients backends encrypt at the same time");

# The planner is free to launch fewer workers than it wants: several statements, so that some get them.
$node->safe_psql('postgres', q{
	set parallel_setup_cost = 0;
	set parallel_tuple_cost = 0;
	set min_parallel_table_scan_size = 0;
	set parallel_leader_participation = off;
	create table p as select process() as pid, encrypt.encrypt_column(i::text) as value from source;
	insert into v select * from p;
	create table q as select process() as pid, encrypt.encrypt_column(i::text) as value from source;
	insert into v select * from q;
});

my $expected = $clients * $transactions * $rows + 2 * 40_000;
cmp_ok($expected, '>=', 300_000, 'that is a lot of values');
is($node->safe_psql('postgres', 'select count(*) from v'), $expected, 'all values are there');
is($node->safe_psql('postgres', 'select count(distinct substring(value::bytea from 7 for 18)) from v'),
	$expected, 'and each has a nonce of its own');

my $processes = $node->safe_psql('postgres', 'select count(distinct pid) from v');
my $workers   = $node->safe_psql('postgres',
	'select count(distinct pid) from (select pid from p union all select pid from q) w');
cmp_ok($workers, '>=', 2, 'parallel workers took part');
is($processes, $clients + $workers, 'every client and every worker is a process');

is($node->safe_psql('postgres', q{
		select count(*) from (
			select from v group by substring(value::bytea from 7 for 16) having count(distinct pid) > 1) shared}),
	0, 'no epoch occurs in two processes');
# One epoch per transaction of a client, as no transaction needs more.
is($node->safe_psql('postgres', qq{
		select count(distinct substring(value::bytea from 7 for 16)) from v
		where pid not in (select pid from p union all select pid from q)}),
	$clients * $transactions, 'every transaction has an epoch of its own');
is($node->safe_psql('postgres', 'select sum(encrypt.decrypt_column(value)::bigint) from v'),
	$clients * $transactions * $rows * ($rows + 1) / 2 + 2 * 40_000 * 40_001 / 2,
	'and every value is readable');
$node->stop;
done_testing();
