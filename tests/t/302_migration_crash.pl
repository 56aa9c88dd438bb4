# A migration that is interrupted: backends are killed in the backfill, in a cutover that waits and in one that has exchanged
# everything but not committed; the server is shut down at once. Afterwards the table is all old or all new, with every
# committed row, and the same call goes on.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 20_000;
my $node = new_node('crash', conf => "restart_after_crash = on\nmax_worker_processes = 16");
$node->safe_psql('postgres', qq{
	select encrypt.create_key('k');
	create table account (id integer primary key, email text unique, note text);
	create table twin (id integer primary key, email text, note text);
	create view emails as select id, email from account;
	insert into account select i, 'user' || i, repeat('x', 100) from generate_series(1, $rows) i;
	insert into twin select * from account;
	analyze;
});
my $migrate = q{call encrypt.migrate('account', '{email}', 'k', '{email}')};
my $written = $rows;

# One committed write of each kind, which dual write has to carry over.
sub write_some
{
	my $new = ++$written;
	$node->safe_psql('postgres', qq{
		begin;
		insert into account values ($new, 'user$new', 'new');
		insert into twin values ($new, 'user$new', 'new');
		update account set email = 'changed$new' where id = $new - 10000;
		update twin set email = 'changed$new' where id = $new - 10000;
		delete from account where id = $new - 19990;
		delete from twin where id = $new - 19990;
		commit;});
	return;
}

# Everything of one side: the type of the column, the index on it, the view over it, the names, the rows.
sub is_whole
{
	my ($encrypted, $when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql('postgres', q{
			select a.atttypid <> 'text'::regtype,
				(select v.atttypid from pg_attribute v where v.attrelid = 'emails'::regclass and v.attname = 'email') = a.atttypid,
				(select i.indrelid from pg_index i where i.indexrelid = 'account_email_key'::regclass) = a.attrelid
			from pg_attribute a where a.attrelid = 'account'::regclass and a.attname = 'email'}),
		($encrypted ? 't' : 'f') . '|t|t', ($encrypted ? 'all new ' : 'all old ') . $when);
	is($node->safe_psql('postgres', q{
			select count(*) from account a full join twin t using (id)
			where (a.email::text, a.note) is distinct from (t.email, t.note)}),
		'0', "every row is there $when");
	return;
}

sub wait_for
{
	my ($what) = @_;
	$node->poll_query_until('postgres', $what) or die "never: $what";
	return;
}

sub kill_backend
{
	my ($pid) = @_;
	kill 'KILL', $pid or die "kill: $!";
	# The postmaster has noticed when the session that was killed is not shown any more.
	wait_for("select not exists (select from pg_stat_activity where pid = $pid)");
	return;
}

my $id;

sub phase
{
	return $node->safe_psql('postgres', "select phase from encrypt.migrations where migration_id = $id");
}

# A session that a crash took along can't be ended the usual way.
sub forget
{
	my ($session) = @_;
	$session->{run}->kill_kill;
	return;
}

# Cutover makes the view anew after the names were exchanged: there it stays until it is killed.
sub stuck_in_exchange
{
	my ($sql) = @_;
	$node->safe_psql('postgres', 'insert into stay values (true)');
	my $session = session($node);
	my $pid     = backend_pid($session);
	session_start($session, $sql);
	wait_for("select exists (select from pg_stat_activity where pid = $pid and wait_event = 'PgSleep' and query like '%call%'
		and exists (select from pg_locks where pid = $pid and mode = 'AccessExclusiveLock'))");
	return ($session, $pid);
}
$node->safe_psql('postgres', q{
	create table stay (yes boolean);
	create function stay() returns event_trigger language plpgsql as $$
	begin
		if exists (select from public.stay) then
			perform pg_sleep(600);
		end if;
	end $$;
	create event trigger stay on ddl_command_end when tag in ('CREATE VIEW') execute function stay();
});

# In the backfill, some of which is done.
$id = $node->safe_psql('postgres', q{select encrypt.start_migration('account', '{email}', 'k', '{email}')});
my $session = session($node);
my $pid     = backend_pid($session);
session_start($session, qq{call encrypt.backfill($id, '{"batch_rows": 200, "pause_between": "20ms"}')});
wait_for("select count(*) between 1000 and $rows - 1000 from account_encrypted");
kill_backend($pid);
forget($session);
is(phase(), 'backfilling', 'killed in the backfill');
write_some();
is_whole(0, 'after a kill in the backfill');

# The server at once, in the backfill that goes on.
my $copied = $node->safe_psql('postgres', 'select count(*) from account_encrypted');
$session = session($node);
session_start($session, $migrate);
wait_for("select count(*) > $copied + 200 from account_encrypted");
$node->stop('immediate');
forget($session);
$node->start;
write_some();
is_whole(0, 'after a shutdown at once in the backfill');

# A cutover that waits. The call goes on with what is left before it.
my $reader = session($node);
$reader->query_safe('begin; select count(*) from account');
$session = session($node);
$pid     = backend_pid($session);
session_start($session, $migrate);
wait_for("select exists (select from pg_locks where pid = $pid and not granted and relation = 'account'::regclass
	and mode = 'AccessExclusiveLock')");
is(phase(), 'verified', 'cutover waits for a lock');
kill_backend($pid);
forget($_) for $session, $reader;
write_some();
is_whole(0, 'after a kill of a cutover that waited');

# One that has exchanged the tables but not committed.
($session, $pid) = stuck_in_exchange($migrate);
kill_backend($pid);
forget($session);
is(phase(), 'verified', 'killed in the exchange');
write_some();
is_whole(0, 'after a kill in the exchange');
($session, $pid) = stuck_in_exchange($migrate);
$node->stop('immediate');
forget($session);
$node->start;
$node->safe_psql('postgres', 'delete from stay');
write_some();
is_whole(0, 'after a shutdown at once in the exchange');

$node->safe_psql('postgres', $migrate);
is(phase(), 'cut_over', 'the same call goes on');
write_some();
is_whole(1, 'after cutover');

# The way back is the same exchange.
my $rollback = "call encrypt.rollback_migration($id)";
($session, $pid) = stuck_in_exchange($rollback);
kill_backend($pid);
forget($session);
is(phase(), 'cut_over', 'killed in a rollback');
$node->safe_psql('postgres', 'delete from stay');
write_some();
is_whole(1, 'after a kill in a rollback');
is($node->safe_psql('postgres', 'select count(*) from account_plaintext p full join twin t using (id)
		where (p.email, p.note) is distinct from (t.email, t.note)'),
	'0', 'the plaintext table was kept in step');
$node->safe_psql('postgres', $rollback);
write_some();
is_whole(0, 'after the rollback');
is($node->safe_psql('postgres', q{select to_regclass('account_encrypted') is null and to_regclass('account_plaintext') is null}),
	't', 'nothing is left of the migration');

done_testing();
