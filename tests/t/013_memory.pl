# A million values in one statement: the backend's memory stays flat, and the statement can be cancelled at once. Values
# whose ciphertext would not fit into a gigabyte are refused, and the backend lives on.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('memory');
$node->safe_psql('postgres', q{select encrypt.create_key('default')});

# Megabytes of memory a process has used at most.
sub megabytes
{
	my ($pid) = @_;
	my $status = slurp_file("/proc/$pid/status");
	my ($peak) = $status =~ /^VmHWM:\s+(\d+) kB/m;
	return int($peak / 1024);
}

# Series in the select list are not stored before their first row is used.
sub over
{
	my ($rows, $expression) = @_;
	return "select count($expression) from (select generate_series(1, $rows) i) g";
}

my $round_trip = q{encrypt.decrypt_column(encrypt.encrypt_column(repeat(i::text, 20)))};
my %work = (
	'encrypting and decrypting' => $round_trip,
	'other types'               => q{encrypt.decrypt_as(encrypt.encrypt_column(i::numeric), null::numeric)},
	'deterministic values'      => q{encrypt.decrypt_column(encrypt.encrypt_deterministic(i::text))},
	'tokens'                    => q{encrypt.blind_index(i::text)},
	'lists of tokens'           => q{encrypt.blind_index_all(i::text)},
	'encrypting again'          => q{encrypt.reencrypt_column(encrypt.encrypt_column(i::text), 'default')},
	'contexts'                  => q{encrypt.encrypt_column('x', context => i::text)},
	'text form'                 => q{encrypt.encrypt_column(i::text)::text::encrypt.ciphertext});
for my $name (sort keys %work)
{
	my $rows    = $name eq 'encrypting and decrypting' ? 1_000_000 : 100_000;
	my $session = session($node);
	my $pid     = backend_pid($session);
	# Compiling expressions loads a library of 50 MB.
	$session->query_safe('set client_min_messages = error; set jit = off');
	# What caches need they have after some thousand rows.
	$session->query_safe(over(10_000, $work{$name}));
	my $before = megabytes($pid);
	is($session->query_safe(over($rows, $work{$name})), $rows, "$name: $rows rows");
	my $grown = megabytes($pid) - $before;
	# Ten bytes a row would be 9 MB in the long run.
	cmp_ok($grown, '<', $rows == 1_000_000 ? 8 : 4, "$name: memory stays flat") or diag("grew by $grown MB");
	$session->quit;
}

# Measured in the server, so that starting programs does not count.
my $busy = session($node);
my $pid  = backend_pid($busy);
session_start($busy, over(1_000_000_000, $round_trip));
my $waited = $node->safe_psql('postgres', qq{
	select pg_sleep(0.5);
	do \$\$
	declare
		begun timestamptz := clock_timestamp();
	begin
		assert (select state = 'active' from pg_stat_activity where pid = $pid), 'not running';
		perform pg_cancel_backend($pid);
		loop
			perform pg_stat_clear_snapshot();
			exit when (select state = 'idle' from pg_stat_activity where pid = $pid);
			perform pg_sleep(0.01);
		end loop;
		perform set_config('test.waited', extract(epoch from clock_timestamp() - begun)::text, false);
	end \$\$;
	select current_setting('test.waited')});
# To its end it would take a quarter of an hour.
cmp_ok($waited =~ s/\s//gr, '<', 20, 'a statement over many rows is cancelled at once');
$busy->query('');
like($busy->{stderr}, qr/57014/, 'with the usual error');
$busy->quit;

SKIP:
{
	my ($available) = slurp_file('/proc/meminfo') =~ /^MemAvailable:\s+(\d+) kB/m;
	skip 'a value of one gigabyte needs 5 GB of memory', 6 if $available < 5 * 1024 * 1024;

	my $session = session($node);
	$pid = backend_pid($session);
	# 23 bytes below the largest text there is; made of long pieces, which is faster than of characters.
	my $piece   = q{repeat(repeat('x', 1024), 1048575)};
	my $largest = qq{$piece || repeat('x', 1000)};
	for my $value ($largest, "($largest)::bytea")
	{
		my ($sqlstate, $said) = session_error($session, "select length(encrypt.encrypt_column($value)::bytea)");
		is($sqlstate, '54000', "too large: $value") or diag($said);
	}
	is($session->query_safe("select length(encrypt.encrypt_column($piece)::bytea)"), 1024 * 1048575 + 40, 'just small enough');
	my ($sqlstate, $said) = session_error($session,
		q{select length(encrypt.encrypt_column(repeat(repeat('x', 1024), 600000))::text)});
	is($sqlstate, '54000', 'a text form that is too large') or diag($said);
	is($session->query_safe("select length(encrypt.decrypt_column(encrypt.encrypt_column(repeat(repeat('x', 1024), 200000))))"),
		1024 * 200_000, 'a large value round-trips');
	is(backend_pid($session), $pid, 'and the backend lives on');
	$session->quit;
}
$node->stop;
done_testing();
