# Logical replication into a table that migrates: the apply worker's writes reach the encrypted table like the application's, and none
# is lost around cutover and rollback. And out of one: subscribers get plaintext before cutover and ciphertext afterwards.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PgEncrypt::Twin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $table = 'create table account (id integer primary key, email text not null unique, note text, branch integer)';
# What is not written out is not sent, and not waited for.
my $conf = "jit = off";
my $publisher = new_node('publisher', init => { allows_streaming => 'logical' }, extension => 0, conf => $conf);
$publisher->safe_psql('postgres', qq{
	$table;
	insert into account select i, 'user' || i, repeat('x', 100), 1 from generate_series(1, 1500) i;
	create publication p for table account;
});
my $node = new_node('subscriber', init => { allows_streaming => 'logical' }, conf => $conf);
$node->safe_psql('postgres', qq{
	select encrypt.create_key('k');
	$table;
});
$node->safe_psql('postgres', q{create subscription s connection '} . $publisher->connstr . q{ dbname=postgres' publication p});
$node->wait_for_subscription_sync($publisher, 's');

# Everything that the publisher's application does to rows. The twin is the publisher's table itself.
my $n = 0;

sub write_there
{
	$n++;
	my $new = 10_000 + 100 * $n;
	$publisher->safe_psql('postgres', qq{
		insert into account select i, 'new' || i, null, 2 from generate_series($new, $new + 49) i;
		update account set email = 'changed' || $n || '-' || id where id % 97 = $n;
		update account set note = repeat('y', 5000) where id = $n;
		update account set id = id + 1000000 where id % 101 = $n;
		delete from account where id % 103 = $n;
		begin; update account set email = 'undone' where id = 1; rollback;
		-- A unique value passes from one row to another.
		begin; delete from account where id = $new; insert into account values ($new + 50, 'new$new', 'again', 3); commit;
	});
	return;
}

sub rows_of
{
	my ($from, $what) = @_;
	return $from->safe_psql('postgres', "select id, email::text, note::text, branch from $what order by id");
}

sub is_replicated
{
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$publisher->wait_for_catchup('s');
	my ($phase, $shadow) = split /\|/,
	  $node->safe_psql('postgres', 'select phase, shadow from encrypt.migrations order by migration_id desc limit 1') || '|';
	my $there = rows_of($publisher, 'account');
	for my $copy ('account', ($phase // '') =~ /^(backfilled|verified|cut_over)$/ ? $shadow : ())
	{
		# Not is(): thousands of rows say nothing.
		ok(rows_of($node, $copy) eq $there, "$copy is what the publisher's table is $when");
	}
	return;
}

sub admin
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "set client_min_messages = error; $sql");
}

my ($state, $said) = sql_error($node, q{select encrypt.start_migration('account', '{email, note}', 'k', '{email}')});
is($state, undef, 'a table that a subscription fills can be migrated');
like($said, qr/subscription "s" fills/, 'it is told that there is one');
my $id = migration($node);
write_there();
is_replicated('while writes go to both');
# Writes arrive while rows are copied.
my $job = admin(qq{select encrypt.start_backfill($id, '{"batch_rows": 100, "pause_between": "20ms"}')});
admin("select encrypt.start_workers($job, 2)");
write_there() for 1 .. 3;
$node->poll_query_until('postgres', "select state = 'finished' from encrypt.jobs where job_id = $job") or die 'no end of the backfill';
is_replicated('after the backfill');
write_there();
admin("call encrypt.verify($id)");
is(phase($node), 'verified', 'both tables are equal by every value');

# session_replication_role = replica is what an apply worker has.
my $as_replica = q{set session_replication_role = replica;};
$node->safe_psql('postgres', qq{$as_replica
	insert into account values (-1, 'local', null, 1), (-2, 'other', null, 1);
	update account set email = 'changed' where id = -1; update account set id = -3 where id = -2; delete from account where id = -1});
is($node->safe_psql('postgres', 'select id, email::text from account_encrypted where id < 0'), '-3|other', 'a session as replica writes both');
$node->safe_psql('postgres', "$as_replica delete from account where id = -3");

# A step that exchanges the tables: refused, then as its hint says. What is written meanwhile arrives afterwards.
sub exchange
{
	my ($step) = @_;
	($state, $said) = sql_error($node, "call encrypt.$step($id)");
	is($state, '55000', "$step is refused while the subscription is enabled");
	my ($hint) = $said =~ /^HINT:  Run: (.*;)$/m;
	admin($hint);
	write_there();
	admin("call encrypt.$step($id)");
	write_there();
	admin('alter subscription s enable');
	write_there();
	is_replicated("after $step");
	write_there();
	is_replicated("after $step and more");
	is($node->safe_psql('postgres', q{
			select string_agg(srrelid::regclass || ' ' || srsubstate::text, ', ') from pg_subscription_rel}), 'account r',
		"after $step the subscription fills the table in use");
	return;
}
exchange('cutover');
is($node->safe_psql('postgres', q{select count(*) from account a where a.email = 'new10100'}), '1', 'rows are found by the encrypted column');
admin("call encrypt.verify($id)");
is($node->safe_psql('postgres', "select verification ->> 'passed' from encrypt.migrations where migration_id = $id"), 'true',
	'both tables are equal by every value, after cutover');
# TRUNCATE is replicated, too.
$publisher->safe_psql('postgres', q{begin; truncate account; insert into account values (1, 'first', null, 1); commit});
is_replicated('after TRUNCATE');
write_there();
exchange('rollback_migration');
is(phase($node), 'rolled_back', 'the plaintext table is back');
admin(q{select encrypt.start_migration('account', '{email, note}', 'k', '{email}')});
$id = migration($node);
admin("call encrypt.$_($id)") for 'backfill', 'verify';
exchange('cutover');
admin("call encrypt.finalize_migration($id)");
write_there();
is_replicated('after the end');
admin('drop subscription s');

# Out of it. The table is published from the beginning; who subscribed has text columns.
$node->safe_psql('postgres', q{
	create table people (id integer primary key, email text);
	insert into people values (1, 'plain-one');
	create publication out for table people;
	create publication everything for all tables;
});
fails_with($node, q{select encrypt.start_migration('people', '{email}', 'k')}, '0A000', 'a publication of all tables is refused');
$node->safe_psql('postgres', 'drop publication everything');
$publisher->safe_psql('postgres', 'create table people (id integer primary key, email text)');
$publisher->safe_psql('postgres', q{create subscription o connection '} . $node->connstr . q{ dbname=postgres' publication out});
$publisher->wait_for_subscription_sync($node, 'o');
($state, $said) = sql_error($node, q{select encrypt.start_migration('people', '{email}', 'k')});
like($said, qr/publication/, 'it is told that the table is published');
$id = migration($node);

sub arrived
{
	my ($row) = @_;
	$node->wait_for_catchup('o');
	return $publisher->safe_psql('postgres', "select email from people where id = $row");
}
$node->safe_psql('postgres', q{insert into people values (2, 'plain-two')});
is(arrived(2), 'plain-two', 'before cutover plaintext is sent');
admin("call encrypt.$_($id)") for 'backfill', 'verify', 'cutover';
$node->safe_psql('postgres', q{insert into people values (3, 'plain-three')});
# The subscriber knows tables by their names there, and gets what the table with the name has.
like(arrived(3), qr/^\\x[0-9a-f]{80,}$/, 'after cutover ciphertext is sent');
is($node->safe_psql('postgres', q{select tablename from pg_publication_tables where pubname = 'out'}), 'people', 'of the table in use, alone');
admin("call encrypt.rollback_migration($id)");
$node->safe_psql('postgres', q{insert into people values (4, 'plain-four'); update people set email = email || '!' where id = 3});
is(arrived(4), 'plain-four', 'after a rollback plaintext is sent');
is(arrived(3), 'plain-three!', 'and rows are changed by their keys');
$publisher->safe_psql('postgres', 'drop subscription o');
$node->stop;
$publisher->stop;
done_testing();
