# A backend that is killed, or a server that is shut down at once, in the middle of bulk encryption: everything that
# was committed is readable, and no nonce of before is drawn again, not even those of rows that never became visible.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('crash', conf => 'restart_after_crash = on');
# No vacuum: it would move or remove what the test wants to find in the file.
$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table t (batch text, value encrypt.ciphertext) with (autovacuum_enabled = off);
});

sub insert
{
	my ($batch, $rows) = @_;
	# In the select list, where a series is not stored before its first row is used.
	return "insert into t select '$batch', encrypt.encrypt_column(i::text) from (select generate_series(1, $rows) i) g";
}

# A session that inserts, so far that some of it is in the file.
sub busy_session
{
	my ($batch) = @_;
	my $session = session($node);
	my $pid     = backend_pid($session);
	my $size    = $node->safe_psql('postgres', q{select pg_relation_size('t')});
	session_start($session, insert($batch, 1_000_000_000));
	$node->poll_query_until('postgres', "select pg_relation_size('t') > $size + 4 * 1024 * 1024")
	  or die 'nothing was written';
	return ($session, $pid);
}

sub committed_is_readable
{
	my ($expected, $when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql('postgres', q{
			select string_agg(format('%s %s %s', batch, rows, sum), ', ' order by batch)
			from (select batch, count(*) as rows, sum(encrypt.decrypt_column(value)::bigint) from t group by batch) b}),
		$expected, "what was committed is readable, and nothing else is there $when");
	return;
}

# Nonces (epoch and counter) of all values in the table's file: of dead rows as well, which SQL does not show.
sub nonces_in_file
{
	$node->safe_psql('postgres', 'checkpoint');
	my $file = slurp_file($node->data_dir . '/' . $node->safe_psql('postgres', q{select pg_relation_filepath('t')}));
	my ($key_id) = $node->safe_psql('postgres', q{select key_id from encrypt.keys where purpose = 'column'});
	# Format byte, flags of a text, key id.
	my $header = quotemeta pack('CCN', 0xe1, 0x08, $key_id);
	my %nonces;
	$nonces{$1}++ while $file =~ /$header(.{18})/gs;
	return \%nonces;
}

sub nonces_are_distinct
{
	my ($when) = @_;
	my $nonces  = nonces_in_file();
	my $visible = $node->safe_psql('postgres', 'select count(*) from t');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar keys %$nonces, '>', $visible, "the file holds rows of aborted transactions $when");
	is(scalar(grep { $_ > 1 } values %$nonces), 0, "no nonce was used twice $when");
	# Rows of one batch share epochs, rows of two never do.
	is($node->safe_psql('postgres', q{
			select count(*) from (
				select from t group by substring(value::bytea from 7 for 16) having count(distinct batch) > 1) shared}),
		0, "no epoch was used in two transactions $when");
	return;
}

$node->safe_psql('postgres', insert('a', 1000));
my ($session, $pid) = busy_session('killed');
my $bystander = session($node);
$bystander->query_safe('select encrypt.decrypt_column(value) from t limit 1');
kill 'KILL', $pid or die "kill: $!";
# Signals are asynchronous: wait for the end of what was before the crash, then for the server to be back.
$node->wait_for_log(qr/all server processes terminated; reinitializing/);
$node->poll_query_until('postgres', 'select true') or die 'the server did not come back';
committed_is_readable('a 1000 500500', 'after a backend was killed');
$node->safe_psql('postgres', insert('b', 70_000));
committed_is_readable('a 1000 500500, b 70000 2450035000', 'after writing again');
nonces_are_distinct('after a backend was killed');

($session, $pid) = busy_session('shut down');
$node->stop('immediate');
$node->start;
committed_is_readable('a 1000 500500, b 70000 2450035000', 'after an immediate shutdown');
$node->safe_psql('postgres', insert('c', 1000));
committed_is_readable('a 1000 500500, b 70000 2450035000, c 1000 500500', 'after writing again');
nonces_are_distinct('after an immediate shutdown');
$node->stop;
done_testing();
