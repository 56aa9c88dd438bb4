# An application that does not know of the migration: pgbench goes on through start, backfill, verification, cutover,
# rollback, the same again and finalization. No statement fails, none waits for longer than a step may hold up others, and
# at the end the table is what a plain twin of it is, which every transaction wrote too.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 2000;
# Steps wait for locks up to half a second, and so does whoever queues behind them; the rest is for a busy machine.
my $longest_ms = 3000;

my $node = new_node('traffic', conf => 'max_worker_processes = 16');
$node->safe_psql('postgres', qq{
	create role regress_app login;
	select encrypt.create_key('k');
	select encrypt.grant_key('k', 'regress_app', 'encrypt', 'decrypt', 'search');
	create table branch (id integer primary key, total bigint not null);
	insert into branch values (1, 0), (2, 0);
	create table account (
		id integer primary key,
		email text not null unique,
		branch integer not null references branch,
		balance bigint not null default 0
	);
	create table twin (id integer primary key, email text not null unique, branch integer not null, balance bigint not null);
	insert into account select i, 'user' || i, 1 + i % 2, 0 from generate_series(1, $rows) i;
	insert into twin select * from account;
	grant select, insert, update, delete on account, twin, branch to regress_app;
	analyze;
});
# Each client has ids of its own for rows that come and go, so that the twin is written in the same order as the table.
append_to_file($node->basedir . '/traffic.pgbench', qq{
\\set id random(1, $rows)
\\set other random(1, $rows)
\\set own 1000000 + :client_id * 1000 + random(0, 50)
\\set amount random(-100, 100)
select balance from account where id = :id;
select id, balance from account where email = 'user' || :other;
begin;
update account set balance = balance + :amount where id = :id;
update twin set balance = balance + :amount where id = :id;
end;
begin;
insert into account values (:own, 'own' || :own, 1, :amount) on conflict (id) do update set balance = account.balance + :amount;
insert into twin values (:own, 'own' || :own, 1, :amount) on conflict (id) do update set balance = twin.balance + :amount;
end;
begin;
update account set email = 'new' || :amount || '-' || :own where email = 'own' || :own;
update twin set email = 'new' || :amount || '-' || :own where email = 'own' || :own;
end;
begin;
delete from account where id = :own + 1;
delete from twin where id = :own + 1;
end;
});

sub differences
{
	my ($table) = @_;
	return $node->safe_psql('postgres', qq{
		select count(*) from $table a full join twin t using (id)
		where (a.email::text, a.branch, a.balance) is distinct from (t.email, t.branch, t.balance)});
}

sub log_files
{
	return glob($node->basedir . '/latency*');
}

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
my ($out, $err) = ('', '');
my $traffic = IPC::Run::start(
	[ 'pgbench', '-n', '-c4', '-j2', '-T', 120, '-U', 'regress_app', '-M', 'prepared', '-l',
		'--log-prefix=' . $node->basedir . '/latency', '-f', $node->basedir . '/traffic.pgbench', 'postgres' ],
	'>', \$out, '2>', \$err);
$node->poll_query_until('postgres', 'select exists (select from twin where id >= 1000000)') or die 'no traffic';

my $admin = session($node);
$admin->query_safe('set client_min_messages = warning');
sub step
{
	my ($sql) = @_;
	my $said = session_error($admin, $sql);
	is($said // '', '', $sql);
	return;
}
my $migrate = q{call encrypt.migrate('account', '{email}', 'k', '{email}', '{}', 2)};
my $phase   = 'select phase from encrypt.migrations order by migration_id desc limit 1';
my $last    = '(select max(migration_id) from encrypt.migrations)';

step($migrate);
is($admin->query_safe($phase), 'cut_over', 'cut over under traffic');
my $id = $admin->query_safe("select $last");
step("call encrypt.rollback_migration($id)");
is($admin->query_safe($phase), 'rolled_back', 'rolled back under traffic');
step($migrate);
is($admin->query_safe($phase), 'cut_over', 'cut over again');
$id = $admin->query_safe("select $last");
step("call encrypt.finalize_migration($id)");
is($admin->query_safe($phase), 'finalized', 'finalized under traffic');
is($admin->query_safe("select atttypid::regtype <> 'text'::regtype from pg_attribute where attrelid = 'account'::regclass and attname = 'email'"),
	't', 'the column is encrypted');
# It wrote until here, and would have for longer.
ok($traffic->pumpable, 'the application was at work throughout');
$traffic->signal('INT');
$traffic->finish;
$node->poll_query_until('postgres', q{select not exists (select from pg_stat_activity where usename = 'regress_app')});

unlike($err, qr/ERROR|FATAL|aborted/, 'no statement failed');
my ($transactions, $longest) = (0, 0);
for my $file (log_files())
{
	open my $log, '<', $file or die "$file: $!";
	while (my $line = <$log>)
	{
		# client, number, latency in microseconds, ...
		my (undef, undef, $latency) = split ' ', $line;
		next unless defined $latency && $latency =~ /^\d+$/;
		$transactions++;
		$longest = $latency if $latency > $longest;
	}
	close $log;
}
cmp_ok($transactions, '>', 500, "$transactions transactions");
cmp_ok($longest / 1000, '<', $longest_ms, sprintf('the longest took %d ms', $longest / 1000));
is(differences('account'), '0', 'the table is what its twin is');
is($node->safe_psql('postgres', q{
		set role regress_app;
		select count(*) from twin t where not exists (select from account a where a.email = t.email and a.id = t.id)}),
	'0', 'every row is found by its encrypted column');

done_testing();
