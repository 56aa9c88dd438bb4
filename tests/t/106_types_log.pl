# Violated constraints: the client that may see a value is told it, and the server's log is not.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The library is loaded by the first use of a type, not at server start; statements, which may hold literals, are not
# logged.
my $node = new_node('log', conf => <<'CONF');
log_destination = 'stderr, csvlog'
logging_collector = on
log_min_error_statement = panic
log_statement = none
log_error_verbosity = verbose
CONF

$node->safe_psql('postgres', q{
	set client_min_messages = error;
	select encrypt.create_key('k');
	select encrypt.create_type('email_enc', key => 'k', searchable => true);
	select encrypt.create_type('note_enc', key => 'k');
	create table users (id integer primary key, email email_enc not null, note note_enc, age integer check (age > 0));
	create unique index on users (email email_enc_ops);
	create table logins (email email_enc references users (email));
	create table parts (id integer, email email_enc) partition by list (id);
	create table parts_1 partition of parts for values in (1);
	create view young as select * from users where age < 30 with check option;
	create table plain (id integer unique);
	insert into plain values (4711);
	create table doubles (email email_enc);
	insert into doubles select 'hidden-9@example.com' from generate_series(1, 2);
	alter table doubles set (parallel_workers = 2);
	create table copies as select 1 as id;
	create materialized view copied as select u.email, u.id from users u, copies;
	create unique index on copied (id);
	insert into copies values (2);
	set pg_encrypt.reveal = on;
	insert into users values (1, 'hidden-1@example.com', 'hidden note', 20);
});

# What the client is told, and the error's name.
my @violations = (
	[ 'unique', q{insert into users values (2, 'hidden-1@example.com', 'hidden', 20)}, qr/Key \(email\)=\(hidden-1\@/ ],
	[ 'check', q{insert into users values (3, 'hidden-3@example.com', 'hidden', -1)}, qr/Failing row .*hidden-3\@/ ],
	[ 'not null', q{insert into users values (null, 'hidden-4@example.com', 'hidden', 1)}, qr/Failing row .*hidden-4\@/ ],
	[ 'foreign key', q{insert into logins values ('hidden-5@example.com')}, qr/Key \(email\)=\(hidden-5\@/ ],
	[ 'partition', q{insert into parts_1 values (2, 'hidden-6@example.com')}, qr/Failing row .*hidden-6\@/ ],
	[ 'view', q{insert into young values (7, 'hidden-7@example.com', 'hidden', 40)}, qr/Failing row .*hidden-7\@/ ],
	[ 'index build', q{create unique index on doubles (email email_enc_ops)}, qr/Key \(email\)=\(hidden-9\@/ ],
	[ 'index build in parallel',
		q{set min_parallel_table_scan_size = 0; set max_parallel_maintenance_workers = 2;
		  create unique index on doubles (email email_enc_ops)}, qr/Key \(email\)=\(hidden-9\@/ ],
	[ 'materialized view', q{refresh materialized view concurrently copied}, qr/Row: \(hidden-1\@/ ],
);
for my $violation (@violations) {
	my ($name, $statement, $told) = @$violation;
	my ($code, $out, $err) = $node->psql('postgres', "set pg_encrypt.reveal = on; $statement");
	like($err, $told, "$name: the client is told");
}

# An error about nothing encrypted is logged in full, in a session that has the library too.
$node->psql('postgres', q{
	set pg_encrypt.reveal = on;
	select email from users;
	insert into plain values (4711);
});

my $directory = $node->data_dir . '/log';
my %logs = map { $_ => join '', map { slurp_file($_) } glob "$directory/*.$_" } qw(log csv);
for my $kind (sort keys %logs) {
	unlike($logs{$kind}, qr/hidden/, "$kind has no value");
	my $kept_out = () = $logs{$kind} =~ /Not logged: it may show decrypted values/g;
	cmp_ok($kept_out, '>=', scalar @violations, "$kind says so in each case");
	like($logs{$kind}, qr/Key \(id\)=\(4711\) already exists/, "$kind has other details");
}

done_testing();
