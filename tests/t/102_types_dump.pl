# Dumps of every kind carry the values of encrypted types as they are stored, whoever makes them; restored, types have the
# same identity, old values are read and found, and new ones go in.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Canary;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $canary = canary('plaintext');
my $work   = $PostgreSQL::Test::Utils::tmp_check . '/types_dump';
mkdir $work or die "$work: $!";

my $node    = new_node('main');
my %secrets = (plaintext => $canary, 'root key' => pack('H*', slurp_file(root_key_path($node)) =~ /(\w+)/));

$node->safe_psql('postgres', q{
	create role regress_reader login;
	select encrypt.create_key('default');
	select encrypt.create_key('pii');
	select encrypt.grant_key('pii', 'regress_reader', 'encrypt', 'decrypt', 'search');
	select encrypt.grant_key('default', 'regress_reader', 'encrypt', 'decrypt', 'search');
	grant pg_read_all_data to regress_reader;
});
# Types in schemas of the application: dumps are sorted by name, one is before "encrypt" and one after it.
for my $schema ('a_app', 'zz_app')
{
	$node->safe_psql('postgres', qq{
		create schema $schema;
		select encrypt.create_type('$schema.email_enc', key => 'pii', searchable => true, normalizer => 'email');
		select encrypt.create_type('$schema.birth_enc', 'date', key => 'pii');
		create domain $schema.short_enc as $schema.email_enc;
		create table $schema.users (
			id integer primary key,
			email $schema.email_enc default 'nobody\@example.org',
			born $schema.birth_enc,
			note encrypt.encrypted_text,
			code encrypt.searchable_text,
			aliases $schema.email_enc[],
			short $schema.short_enc);
		create unique index users_email on $schema.users (email $schema.email_enc_ops);
		create index users_code on $schema.users (code encrypt.searchable_text_ops);
		create index users_token on $schema.users (encrypt.token(email));
		create view $schema.readable as select id, email::text as email, born::date as born from $schema.users;
	});
	append_to_file("$work/$schema.txt",
		join '', map { "$_\t$canary $_\t" . (1900 + $_) . "-02-03\t$canary\t$canary $_\t{$canary}\t$canary $_\n" } 1 .. 100);
	$node->safe_psql('postgres', "copy $schema.users from '$work/$schema.txt'");
	$node->safe_psql('postgres', "select encrypt.rotate_key('pii')");
}

# All there is to know, in one text. Values as stored and as read.
my $state = q{
	set pg_encrypt.reveal = off;
	create temporary table stored as
		select 'a_app' s, u::text as row from a_app.users u union all select 'zz_app', u::text from zz_app.users u;
	set pg_encrypt.reveal = on;
	select 'type', (type_ref, uuid, type_oid, base, key_name, normalizer, index_key_id)::text from encrypt.types
	union all
	select 'stored', s || row from stored
	union all
	select 'read', (s, u)::text from (select 'a_app' s, u::text from a_app.users u
		union all select 'zz_app', u::text from zz_app.users u) u
	order by 1, 2};
my $expected = $node->safe_psql('postgres', $state);
is(scalar(() = $expected =~ /^type\|/mg),   6,   'six types, two of them built in');
is(scalar(() = $expected =~ /^stored\|.*\\xe3/mg), 200, '200 rows are stored as ciphertext');
is(scalar(() = $expected =~ /^read\|.*\Q$canary\E/mg), 200, 'and read as plaintext');

sub works
{
	my ($database, $how, $on) = @_;
	$on //= $node;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $restored = $on->safe_psql($database, $state);
	ok($restored eq $expected, "$how: types and values are the same") or diag(substr $restored, 0, 1000);
	for my $schema ('a_app', 'zz_app')
	{
		# As everywhere, operators are found in schemas of the path only.
		my $search = "set search_path = $schema, encrypt; select id from $schema.users where email = '$canary 42'";
		my $found  = $on->safe_psql($database, "set enable_seqscan = off; $search; explain (costs off) " . $search =~ s/.*; //r);
		like($found, qr/^42\n.*Index Scan using users_email on/, "$how: the index of $schema finds");
	}
	my @reader = (extra_params => [ '-U', 'regress_reader' ]);
	is($on->safe_psql($database, 'select count(*) from zz_app.users where born > date \'1950-01-01\' and note like \'plain%\'',
			@reader), 51, "$how: the reader reads");
	fails_with($on, qq{insert into a_app.users (id, email) values (1000, '\U$canary 42\E')}, '23505',
		"$how: a duplicate, also by its normalized form, is refused", dbname => $database);
	is($on->safe_psql($database, q{set pg_encrypt.reveal = on;
			insert into a_app.users (id, born, code) values (1001, '2000-02-29', 'new') returning email, born, code}),
		'nobody@example.org|2000-02-29|new', "$how: new values go in, the default too");
	$on->safe_psql($database, 'delete from a_app.users where id = 1001');
	return;
}

sub psql_file
{
	my ($database, $file) = @_;
	return [ 'psql', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--output=/dev/null', "--dbname=$database", "--file=$file" ];
}

# Uncompressed, so that the search for plaintext can find it.
my %format = (
	plain     => [ [qw(-Fp)],         sub { psql_file(@_) } ],
	inserts   => [ [qw(-Fp --inserts)], sub { psql_file(@_) } ],
	custom    => [ [qw(-Fc -Z0)],     sub { [ 'pg_restore', '-e', '-d', @_ ] } ],
	single    => [ [qw(-Fc -Z0)],     sub { [ 'pg_restore', '-e', '--single-transaction', '-d', @_ ] } ],
	directory => [ [qw(-Fd -Z0 -j2)], sub { [ 'pg_restore', '-e', '-j2', '-d', @_ ] } ]);
for my $name (sort keys %format)
{
	my ($options, $restore) = @{ $format{$name} };
	$node->safe_psql('postgres', "create database $name template template0");
	$node->command_ok([ 'pg_dump', @$options, '-f', "$work/$name", 'postgres' ], "$name: dumped");
	lacks_canaries("$work/$name", \%secrets, "$name: no plaintext and no root key in the dump");
	$node->command_ok($restore->($name, "$work/$name"), "$name: restored");
	works($name, $name);
}
ok(found_in(\slurp_file("$work/a_app.txt"), \%secrets), 'the search does find plaintext where it is');

# In sections; the data with triggers disabled.
$node->safe_psql('postgres', 'create database sections template template0');
for my $section ('pre-data', 'data', 'post-data')
{
	$node->command_ok(
		[ 'pg_restore', '-e', ($section eq 'data' ? '--disable-triggers' : ()), "--section=$section", '-d', 'sections', "$work/custom" ],
		"sections: $section restored");
}
works('sections', 'sections');

# Schema and data apart; the rows before the registry that tells what they are.
$node->safe_psql('postgres', 'create database apart template template0');
$node->command_ok([ 'pg_dump', '-s', '-f', "$work/schema", 'postgres' ], 'schema only: dumped');
lacks_canaries("$work/schema", \%secrets, 'schema only: no plaintext in it');
$node->command_ok([ 'pg_dump', '-a', '-Fc', '-Z0', '-f', "$work/data", 'postgres' ], 'data only: dumped');
lacks_canaries("$work/data", \%secrets, 'data only: no plaintext in it');
$node->command_ok(psql_file('apart', "$work/schema"), 'schema only: restored');
is($node->safe_psql('apart', 'select count(*) from encrypt.types'), 0, 'schema only: the registry is empty');
my $said = fails_with($node, q{insert into zz_app.users (id, email) values (1, 'new')}, '42704',
	'schema only: a plaintext is refused, not stored', dbname => 'apart');
unlike($said, qr/DETAIL.*new/, 'schema only: nor is it told');
$node->command_ok([ 'pg_restore', '-e', '-d', 'apart', '--disable-triggers', '-t', 'users', "$work/data" ],
	'data before the registry: values are restored');
is($node->safe_psql('apart', 'select count(*) from zz_app.users where email is not null'), 100, 'data before the registry: rows are there');
$node->command_ok([ 'pg_restore', '-e', '-d', 'apart', '-n', 'encrypt', "$work/data" ], 'data before the registry: then the rest');
works('apart', 'data before the registry');

# One table, into a database that has the types.
$node->command_ok([ 'pg_dump', '-Fc', '-Z0', '-t', 'zz_app.users', '-f', "$work/table", 'postgres' ], 'one table: dumped');
lacks_canaries("$work/table", \%secrets, 'one table: no plaintext in the dump');
$node->safe_psql('apart', 'drop table zz_app.users cascade');
$node->command_ok([ 'pg_restore', '-e', '-d', 'apart', "$work/table" ], 'one table: restored');
works('apart', 'one table');

# By a role that sees plaintext in every other session.
is($node->safe_psql('postgres', 'select note from zz_app.users limit 1', extra_params => [ '-U', 'regress_reader' ]),
	$canary, 'the reader sees plaintext');
# The test framework's name for clients would hide that this one is a dump.
delete local $ENV{PGAPPNAME};
$node->command_ok([ 'pg_dump', '-U', 'regress_reader', '-Fp', '-a', '-t', '*_app.users', '-f', "$work/reader", 'postgres' ],
	'by a reader: dumped');
lacks_canaries("$work/reader", \%secrets, 'by a reader: no plaintext in the dump');
$node->command_ok([ 'pg_dumpall', '-f', "$work/all" ], 'pg_dumpall: dumped');
lacks_canaries("$work/all", \%secrets, 'pg_dumpall: no plaintext in the dump');

# Elsewhere: with another root key nothing is read and nothing lost, and the error says why.
my $other = new_node('other');
$other->safe_psql('postgres', 'create role regress_reader login; grant pg_read_all_data to regress_reader; create database restored template template0');
$other->command_ok([ 'pg_restore', '-e', '-d', 'restored', "$work/custom" ], 'another root key: restored');
$said = fails_with($other, 'set pg_encrypt.reveal = on; select email from a_app.users', '58030',
	'another root key: not readable', dbname => 'restored');
like($said, qr/is wrapped by root key \w+, but root key \w+ is configured/, 'another root key: the error says so');
fails_with($other, q{insert into a_app.users (id, email) values (1000, 'new')}, '58030',
	'another root key: nothing can be written', dbname => 'restored');
write_root_key($other, slurp_file(root_key_path($node)) =~ /(\w+)/);
works('restored', 'the right root key', $other);

# A CHECK that decrypts needs keys and registry before the rows. The order of a dump is by name, or in parallel by size: then
# what is in schema "encrypt" is restored first.
$node->safe_psql('postgres', 'create database checked template template0');
$node->safe_psql('checked', q{
	create extension pg_encrypt;
	select encrypt.create_key('pii');
	create schema a_app;
	select encrypt.create_type('a_app.email_enc', key => 'pii', searchable => true);
	select encrypt.create_type('a_app.price_enc', 'numeric', key => 'pii', modifier => '5,2');
	create table a_app.users (id integer, email a_app.email_enc check (length(email) < 100));
	create table a_app.prices (price a_app.price_enc);
	insert into a_app.prices values (1.005);
});
append_to_file("$work/checked.txt", join '', map { "$_\t$canary $_\n" } 1 .. 100);
$node->safe_psql('checked', "copy a_app.users from '$work/checked.txt'");
$node->command_ok([ 'pg_dump', '-Fc', '-Z0', '-f', "$work/checked", 'checked' ], 'CHECK: dumped');
$node->safe_psql('postgres', 'create database unordered template template0; create database ordered template template0');
$node->command_fails_like([ 'pg_restore', '-e', '-d', 'unordered', "$work/checked" ],
	qr/encrypted type with number \d+ does not exist in this database/, 'CHECK: an error in any other order, nothing unchecked');
$node->command_ok([ 'pg_restore', '-e', '-d', 'ordered', @$_, "$work/checked" ], "CHECK: restored @$_")
  for [qw(--section=pre-data)], [qw(-a -n encrypt)], [qw(--section=data -N encrypt)], [qw(--section=post-data)];
is($node->safe_psql('ordered', 'select count(email::text) from a_app.users'), 100, 'CHECK: all rows are there');
fails_with($node, q{insert into a_app.users values (1000, repeat('x', 100))}, '23514', 'CHECK: it checks', dbname => 'ordered');

# A base type's modifier comes along, and goes on being applied.
fails_with($node, q{insert into a_app.prices values (1000)}, '22003', 'modifier: what does not fit is refused', dbname => 'ordered');
is($node->safe_psql('ordered', q{set pg_encrypt.reveal = on; insert into a_app.prices values ('2.345'); select price from a_app.prices}),
	"1.01\n2.35", 'modifier: values are made to fit');

# Constraints that are not validated are restored after the rows; those of domains would else come before the casts, too. One
# that compares tokens is in nobody's way.
$node->safe_psql('postgres', 'create database constrained template template0');
$node->safe_psql('constrained', q{
	create extension pg_encrypt;
	select encrypt.create_key('pii');
	create schema a_app;
	set search_path = a_app;
	select encrypt.create_type('a_app.name_enc', key => 'pii', searchable => true);
	select encrypt.create_type('a_app.age_enc', 'integer', 'pii');
	create domain short as name_enc check (length(value) < 10);
	create domain proper as name_enc check (value <> 'nobody');
	create domain positive as age_enc;
	alter domain positive add constraint positive check (value > 0) not valid;
	create table people (id integer, name short, nick proper, age positive, pet name_enc check (pet <> 'none'), years age_enc,
		constraint young check (years < 100));
	insert into people values (1, 'ann', 'an', 5, 'cat', 50)});
my $named = q{select subject from encrypt.check_configuration() where subject like 'constraint %' order by 1};
is($node->safe_psql('constrained', $named), "constraint short_check of a_app.short\nconstraint young of a_app.people", 'they are named');
$node->safe_psql('constrained', q{
	set search_path = a_app;
	alter domain short drop constraint short_check;
	alter domain short add constraint short_check check (length(value) < 10) not valid;
	alter table people drop constraint young, add constraint young check (years < 100) not valid});
is($node->safe_psql('constrained', $named), '', 'until they are not validated');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$work/constrained", 'constrained' ], 'constraints: dumped');
$node->safe_psql('postgres', 'create database constrained_2 template template0');
$node->command_ok([ 'pg_restore', '-e', '-d', 'constrained_2', "$work/constrained" ], 'constraints: restored');
is($node->safe_psql('constrained_2', 'set pg_encrypt.reveal = on; select * from a_app.people'), '1|ann|an|5|cat|50', 'constraints: rows are there');
fails_with($node, "insert into a_app.people ($_)", '23514', "constraints: holds for $_", dbname => 'constrained_2')
	for (q{name) values ('somebody else'}, q{nick) values ('nobody'}, q{age) values (0}, q{pet) values ('none'}, q{years) values (100});

# A value that the database has no type for.
$node->safe_psql('postgres', q{select encrypt.create_type('lonely_enc', key => 'pii'); create table lonely (v lonely_enc)});
my $foreign = $node->safe_psql('postgres', 'select email from a_app.users limit 1');
$said = fails_with($node, "insert into lonely values ('$foreign')", '22023', 'a value of another type is refused');
like($said, qr/value belongs to another encrypted type than lonely_enc/, 'a value of another type: the error says so');
$node->stop;
$other->stop;
done_testing();
