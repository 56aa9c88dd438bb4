# Logical replication ships the values of encrypted types as they are stored; the subscriber, which has the keys and the
# registry from a dump, reads and searches them. A streaming standby does so by itself.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Canary;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $canary = canary('plaintext');
my $work   = $PostgreSQL::Test::Utils::tmp_check . '/types_replication';
mkdir $work or die "$work: $!";

my $publisher = new_node('publisher', init => { allows_streaming => 'logical' });
$publisher->safe_psql('postgres', q{
	create role regress_reader login;
	select encrypt.create_key('pii');
	select encrypt.grant_key('pii', 'regress_reader', 'encrypt', 'decrypt', 'search');
	-- A superuser with a grant of its own sees plaintext, in every session but a walsender's.
	select encrypt.grant_key('pii', current_user::regrole, 'decrypt');
	select encrypt.create_type('email_enc', key => 'pii', searchable => true);
	select encrypt.create_type('birth_enc', 'date', key => 'pii');
	create table users (id integer primary key, email email_enc, born birth_enc, aliases email_enc[]);
	create unique index users_email on users (email email_enc_ops);
	create table by_email (email email_enc not null, n integer);
	create unique index by_email_key on by_email (email email_enc_ops);
	alter table by_email replica identity using index by_email_key;
	grant select on users, by_email to regress_reader;
});

# copy_plaintext(NODE, TABLE, LINES): by COPY, so that no statement holds it.
sub copy_plaintext
{
	my ($table, @lines) = @_;
	my $file = "$work/" . random_hex(8);
	append_to_file($file, join '', map { "$_\n" } @lines);
	$publisher->safe_psql('postgres', "copy $table from '$file'");
	unlink $file;
	return;
}
copy_plaintext('users', map { "$_\t$canary $_\t1990-01-01\t{$canary}" } 1 .. 50);

# Keys, grants and registry come to the subscriber as they come to any restored database: in a dump. Rows do not.
my $subscriber = new_node('subscriber', init => { allows_streaming => 'logical' }, extension => 0);
write_root_key($subscriber, slurp_file(root_key_path($publisher)) =~ /(\w+)/);
$subscriber->safe_psql('postgres', 'create role regress_reader login; create role regress_stranger login');
$publisher->command_ok([ 'pg_dump', '--exclude-table-data=public.*', '-f', "$work/schema", 'postgres' ], 'keys, types and tables dumped');
$subscriber->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', 'postgres', '-f', "$work/schema" ],
	'and restored on the subscriber');
$subscriber->safe_psql('postgres', 'grant select on users to regress_stranger');

$publisher->safe_psql('postgres', 'create publication all_tables for table users, by_email');
# What the walsender sends, as text and as seen by a decoding client.
$publisher->safe_psql('postgres', q{select pg_create_logical_replication_slot('watch', 'pgoutput')});
my $connection = $publisher->connstr . ' dbname=postgres';
for my $binary ('false', 'true')
{
	my $name = "binary_$binary";
	$subscriber->safe_psql('postgres', 'truncate users, by_email');
	$subscriber->safe_psql('postgres',
		"create subscription $name connection '$connection' publication all_tables with (binary = $binary)");
	$subscriber->wait_for_subscription_sync($publisher, $name);
	my $base = $binary eq 'true' ? 1000 : 100;
	copy_plaintext('users', map { ($base + $_) . "\t$canary " . ($base + $_) . "\t2000-02-29\t\\N" } 1 .. 50);
	copy_plaintext('by_email', "$canary $base\t1");
	$publisher->safe_psql('postgres', qq{
		update users set born = date '2001-01-01' where id = $base + 1;
		delete from users where id = $base + 2;
		update by_email set n = n + 1});
	$publisher->wait_for_catchup($name);

	my $state = q{set pg_encrypt.reveal = off; select u::text from users u union all select b::text from by_email b order by 1};
	my $stored = $publisher->safe_psql('postgres', $state);
	is($subscriber->safe_psql('postgres', $state), $stored, "$name: values are the same, bit for bit");
	unlike($stored, qr/\Q$canary\E/, "$name: they are ciphertext");
	my @reader = (extra_params => [ '-U', 'regress_reader' ]);
	is($subscriber->safe_psql('postgres', "select id, born from users where email = '$canary " . ($base + 1) . q{'}, @reader),
		($base + 1) . '|2001-01-01', "$name: the reader finds and reads on the subscriber");
	is($subscriber->safe_psql('postgres', 'select n from by_email where email = '
			. "'$canary $base'", @reader), 2, "$name: rows are identified by the encrypted column");
	fails_with($subscriber, "select email::text from users", '42501', "$name: who has no grant reads nothing",
		extra_params => [ '-U', 'regress_stranger' ]);
	$subscriber->safe_psql('postgres', "drop subscription $name");
}

# Conflicts: the subscriber's log describes the rows. The worker applies changes as an owner who may decrypt.
my $conflicting = "$work/conflicting";
my $logged      = -s $subscriber->logfile;
append_to_file($conflicting, "9000\t$canary 9000\t1990-01-01\t\\N\n");
$subscriber->safe_psql('postgres', "copy users from '$conflicting'; delete from users where id = 103");
$subscriber->safe_psql('postgres',
	"create subscription conflicts connection '$connection' publication all_tables with (copy_data = false)");
$publisher->safe_psql('postgres', "update users set born = date '2001-01-01' where id = 103");
copy_plaintext('users', "9001\t$canary 9000\t1990-01-01\t\\N");
ok($subscriber->poll_query_until('postgres', 'select sum(apply_error_count) > 0 from pg_stat_subscription_stats'), 'a conflict is an error');
my $log = slurp_file($subscriber->logfile, $logged);
like($log, qr/(duplicate key|conflict=insert_exists)/, 'the log tells of it');
unlike($log, qr/\Q$canary\E/, 'and shows no plaintext');
$subscriber->safe_psql('postgres', 'drop subscription conflicts');
$publisher->safe_psql('postgres', 'delete from users where id = 9001');

# The same changes as the walsender's output plugin gives them to a client.
my $receive = $publisher->safe_psql('postgres', q{
	select encode(data, 'escape') from pg_logical_slot_peek_binary_changes('watch', null, null,
		'proto_version', '1', 'publication_names', 'all_tables')});
ok(length $receive > 1000, 'there are changes to be read');
my ($stdout, $stderr);
my $end = $publisher->lsn('insert');
$publisher->command_ok(
	[ 'pg_recvlogical', '-d', $connection, '--slot=watch', '--start', "--endpos=$end", '--no-loop', '-f', "$work/received",
		'-o', 'proto_version=1', '-o', 'publication_names=all_tables' ],
	'the changes are received by a client');
lacks_canaries("$work/received", { plaintext => $canary }, 'no plaintext is shipped');
like(slurp_file("$work/received"), qr/xe3/, 'but values are');
lacks_canaries($subscriber->data_dir, { plaintext => $canary }, 'no plaintext is on the subscriber');
$subscriber->stop;

# A physical standby has everything but the root key, which its own configuration names.
$publisher->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($publisher, 'base', has_streaming => 1);
$standby->start;
copy_plaintext('users', "5000\t$canary 5000\t1999-12-31\t{$canary}");
$publisher->wait_for_catchup($standby, 'replay', $publisher->lsn('write'));
my $search = "select id, email, born, aliases from users where email = '$canary 5000'";
is($standby->safe_psql('postgres', $search, extra_params => [ '-U', 'regress_reader' ]),
	"5000|$canary 5000|1999-12-31|{$canary}", 'the standby finds and reads');
like($standby->safe_psql('postgres', "set enable_seqscan = off; explain (costs off) $search"),
	qr/Index Scan using users_email/, 'by the index');
is($standby->safe_psql('postgres', "select max(born), count(distinct email) from users where email like '$canary %'",
		extra_params => [ '-U', 'regress_reader' ]), '2001-01-01|149', 'the standby sorts and compares');
lacks_canaries($standby->data_dir, { plaintext => $canary }, 'no plaintext is on the standby');
$standby->stop;
$publisher->stop;
done_testing();
