# Whatever statement brings a value into a column of an encrypted type, what is stored is ciphertext: in tables, indexes,
# statistics, catalogs, WAL and temporary files. Plaintexts come from files, never in statements.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Canary;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $canary = canary('plaintext');
my $number = '7' . join '', map { hex } split //, random_hex(8);
$number = substr $number, 0, 18;
# Integers are stored in either byte order; a text form would be a cast that went astray.
my %secrets = (plaintext => $canary, 'bigint as text' => $number, 'bigint' => pack('q<', $number), 'bigint in binary' => pack('q>', $number));
my $work = $PostgreSQL::Test::Utils::tmp_check . '/never_plaintext';
mkdir $work or die "$work: $!";

my $node = new_node('main', init => { allows_streaming => 1 },
	conf => "full_page_writes = on\nwal_compression = off\nwal_keep_size = '256MB'\nlog_parameter_max_length = 0\n"
	  . "log_parameter_max_length_on_error = 0\nlog_statement = 'all'\n");
$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	select encrypt.create_key('pii');
	select encrypt.create_type('email_enc', key => 'pii', searchable => true);
	select encrypt.create_type('number_enc', 'bigint', key => 'pii', searchable => true);
	create type pair as (email email_enc, number number_enc);
	create domain short_enc as email_enc;
	create table plain_columns (id integer, email email_enc, number number_enc, note encrypt.encrypted_text);
	create unique index on plain_columns (id);
	create index on plain_columns (email email_enc_ops);
	create index on plain_columns using hash (email);
	create index on plain_columns (number number_enc_ops) include (note);
	create index on plain_columns (encrypt.token(email));
});
my $rows = 2000;
append_to_file("$work/rows", join '', map { "$_\t$canary $_\t$number\t$canary\n" } 1 .. $rows);
append_to_file("$work/same", join '', map { ($rows + $_) . "\t$canary\t$number\t$canary\n" } 1 .. 200);
append_to_file("$work/values", "$canary\n");
append_to_file("$work/arrays", "{$canary,$canary}\t(\"$canary\",$number)\t$canary\n");

# run(NAME, SQL): every way is its own test, so that a failure says which.
sub run
{
	my ($name, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "set pg_encrypt.reveal = on;\n$sql", on_error_stop => 1);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($status == 0, $name) or diag($err);
	return $out;
}
# A value for statements: read from the file by the server, so that its text is in no statement.
my $value = "(select trim(both E'\\n' from pg_read_file('$work/values')))";

run('COPY', "copy plain_columns from '$work/rows'; copy plain_columns from '$work/same'");
run('COPY as a replica', "create table as_replica (like plain_columns); set session_replication_role = replica; copy as_replica from '$work/rows'");
run('COPY FREEZE', "begin; create table frozen (like plain_columns); copy frozen from '$work/rows' with (freeze); commit");
# What COPY writes with plaintext revealed is plaintext, by intention; outside the data directory.
run('binary COPY', "copy plain_columns to '$work/binary' (format binary); create table from_binary (like plain_columns);
	copy from_binary from '$work/binary' (format binary)");
run('arrays, composites and domains', "create table nested (emails email_enc[], both_ pair, short short_enc); copy nested from '$work/arrays'");
run('partitions and inheritance', "create table parts (like plain_columns) partition by range (id);
	create table low partition of parts for values from (minvalue) to (1000); create table rest partition of parts default;
	copy parts from '$work/rows'; update parts set id = id + 1000 where id < 10;
	create table child () inherits (plain_columns); insert into child select id + 5000, email, number, note from plain_columns where id <= 100");
run('INSERT ... SELECT of an expression', "insert into plain_columns (id, email, note) select 10000, $value, $value");
run('UPDATE', "update plain_columns set email = $value, note = $value || ' again' where id = 10000");
run('MERGE', "merge into plain_columns p using (select 10001 as id, $value as email) s on p.id = s.id
	when matched then update set email = s.email when not matched then insert (id, email) values (s.id, s.email);
	merge into plain_columns p using (select 10001 as id, $value as email) s on p.id = s.id
	when matched then update set email = s.email || '!'");
run('ON CONFLICT', "insert into plain_columns (id, note) values (10001, $value) on conflict (id) do update set note = excluded.note");
run('rules', "create table ruled (id integer, email email_enc); create view through as select id, email from ruled;
	create rule insert_through as on insert to through do instead insert into ruled values (new.id, new.email);
	insert into through select 1, $value");
run('triggers', "create table triggered (email email_enc); create function shout() returns trigger language plpgsql as
	\$\$begin new.email := new.email || upper(new.email); return new; end\$\$;
	create trigger shout before insert on triggered for each row execute function shout(); insert into triggered select $value");
run('CREATE TABLE AS', 'create table copied as select * from plain_columns; create materialized view seen as select email, number from plain_columns');
run('defaults', "create table defaulted (id integer); insert into defaulted select generate_series(1, 100);
	do \$\$begin execute format('alter table defaulted add email email_enc default %L', (select trim(both E'\\n' from pg_read_file('$work/values')))); end\$\$;
	insert into defaulted values (101)");
run('generated columns', "create table generated (id integer, email email_enc, again bytea generated always as (encrypt.token(email)) stored);
	insert into generated (id, email) select id, email from plain_columns");
run('views and functions with constants', "do \$\$begin
	execute format('create view constant as select id from plain_columns where email = %L', (select trim(both E'\\n' from pg_read_file('$work/values'))));
	execute format('alter table nested add check (short <> %L::short_enc or true)', (select trim(both E'\\n' from pg_read_file('$work/values')))); end\$\$");
run('rewriting', 'alter table plain_columns add filler integer default random() * 10; vacuum full plain_columns');
run('changing the type', 'create table changed as select * from plain_columns; alter table changed alter email type encrypt.searchable_text using email::text');
run('prepared transactions', "begin; insert into plain_columns (id, email) select 10002, $value; prepare transaction 'p'; commit prepared 'p'");
run('large values', "insert into frozen (id, note) select 10003, repeat($value, 3000)");
run('statistics', 'alter table plain_columns alter email set statistics 1000; analyze');
run('reading and sorting in memory', 'select count(*) from (select email, note from plain_columns order by note, email) s');

# Prepared statements with parameters, from a client.
append_to_file("$work/pgbench", "insert into plain_columns (id, email, note) values (20000 + :client_id, :email, :email) on conflict do nothing;\n"
	  . "select id from plain_columns where email = :email limit 1;\n");
for my $mode ('prepared', 'extended')
{
	$node->command_ok([ 'pgbench', '-n', '-M', $mode, '-t', '10', '-D', "email=$canary", '-f', "$work/pgbench", 'postgres' ], "pgbench, $mode");
}

$node->safe_psql('postgres', 'checkpoint');
my $stored = $node->safe_psql('postgres', q{set pg_encrypt.reveal = on; select count(*) from plain_columns where email like 'plaintext%'});
cmp_ok($stored, '>', $rows, 'the values are there');

# As superusers see them without a grant of their own.
for my $catalog ('pg_stats', 'pg_stats_ext', 'pg_attrdef', 'pg_constraint', 'pg_rewrite', 'pg_proc')
{
	my $content = $node->safe_psql('postgres', "select x::text from $catalog x");
	is(join(' ', found_in(\$content, \%secrets)), '', "$catalog has no plaintext");
}
is($node->safe_psql('postgres', q{select count(*) from pg_stats where histogram_bounds is not null
		and (tablename, attname) in (values ('plain_columns', 'email'), ('plain_columns', 'number'), ('plain_columns', 'note'))}),
	0, 'there is no histogram of encrypted columns');
cmp_ok($node->safe_psql('postgres', q{select count(*) from pg_stats where most_common_vals is not null and attname = 'email'}), '>', 0,
	'but there are most common values to look at');

# WAL is searched as files, as the values in it are neither compressed nor split by page images.
$node->safe_psql('postgres', 'select pg_switch_wal()');
lacks_canaries($node->data_dir, \%secrets, 'no file of the data directory, WAL included, has plaintext');
server_log_lacks($node, $canary, 'nor has the log, but for statements');
ok(found_in(\slurp_file("$work/rows"), \%secrets), 'the search does find plaintext where it is');
$node->stop;
done_testing();
