# Databases of other encodings: text round-trips, tokens of equal text are equal in all of them, and what a dump into a
# database of another encoding does to values is defined (case C-11): they keep the bytes they were encrypted from.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('encodings', extension => 0);
my $dump = "$PostgreSQL::Test::Utils::tmp_check/encodings.dump";

# "Zoë Ärmel" in UTF-8. Clients speak UTF-8 everywhere; in SQL_ASCII nobody converts.
my $text     = "Zo\xc3\xab \xc3\x84rmel";
my $japanese = "\xe6\x9a\x97\xe5\x8f\xb7";
my %encoding = (utf8 => 'UTF8', latin1 => 'LATIN1', ascii => 'SQL_ASCII', japan => 'EUC_JP');

sub query
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, "set client_encoding = 'UTF8'; $sql");
}

$node->safe_psql('postgres', qq{
	create database $_ template template0 encoding '$encoding{$_}' lc_collate 'C' lc_ctype 'C'}) for keys %encoding;

# One set of keys for all of them.
$node->safe_psql('utf8', q{create extension pg_encrypt; select encrypt.create_key('default')});
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'utf8' ], 'keys dumped');
$node->command_ok([ 'pg_restore', '-e', '-d', $_, $dump ], "$_: keys restored") for qw(latin1 ascii japan);

my %token;
for my $database (sort keys %encoding)
{
	my $value = $database eq 'japan' ? $japanese : $text;
	is(query($database, "select encrypt.decrypt_column(encrypt.encrypt_column('$value'))"), $value, "$database: round trip");
	is(query($database, "
			select encrypt.decrypt_column(encrypt.encrypt_column(v, 'default', v, v), v, v)
			from (values ('$value')) t(v)"),
		$value, "$database: as context and row id as well");
	$token{$database}{$_} = query($database, "select encrypt.blind_index('$value', normalizer => '$_', context => '$value')")
	  for qw(exact casefold);
}
for my $normalizer (qw(exact casefold))
{
	is($token{$_}{$normalizer}, $token{utf8}{$normalizer}, "$_: the $normalizer token is the same as in UTF-8")
	  for qw(latin1 ascii);
	is(query('utf8', "select encrypt.blind_index('$japanese', normalizer => '$normalizer', context => '$japanese')"),
		$token{japan}{$normalizer}, "japan: the $normalizer token is the same as in UTF-8");
}
isnt($token{utf8}{exact}, $token{utf8}{casefold}, 'normalizers differ');

# A word in the context that LATIN1 has other bytes for: the same context.
my $sealed = query('latin1', "select encrypt.encrypt_column('plain', context => '$text', row_id => '$text')");
is(query('utf8', "select encrypt.decrypt_column('$sealed', '$text', '$text')"), 'plain',
	'a context means the same text in every encoding');

# Bytes that are no UTF-8 can be stored in SQL_ASCII, but have no token and are no context.
my $bytes = q{convert_from('\xeb', 'SQL_ASCII')};
my @ascii = (dbname => 'ascii');
is($node->safe_psql('ascii', "select encrypt.decrypt_bytes(encrypt.encrypt_column($bytes))"),
	'\xeb', 'ascii: any bytes round-trip');
fails_with($node, "select encrypt.blind_index($bytes)", '22021', 'ascii: no token of bytes that are not UTF-8', @ascii);
fails_with($node, "select encrypt.encrypt_column('x', context => $bytes)", '22021', 'ascii: no such context', @ascii);

# LATIN1 dumped, UTF-8 restored.
query('latin1', "
	create table people (name encrypt.ciphertext, name_index bytea, city encrypt.ciphertext, born encrypt.ciphertext);
	insert into people values (encrypt.encrypt_column('$text'), encrypt.blind_index('$text'),
		encrypt.encrypt_column('Wien'), encrypt.encrypt_column(date '1962-12-18'))");
$node->command_ok([ 'pg_dump', '-Fc', '-t', 'people', '-f', "$dump.people", 'latin1' ], 'LATIN1 dumped');
$node->command_ok([ 'pg_restore', '-e', '-d', 'utf8', "$dump.people" ], 'restored in UTF-8');
is(query('utf8', 'select encrypt.decrypt_column(city), encrypt.decrypt_as(born, null::date) from people'),
	'Wien|1962-12-18', 'what is ASCII is readable');
is(query('utf8', "select count(*) from people where name_index = encrypt.blind_index('$text')"), 1, 'tokens find it');
my $said = fails_with($node, 'select encrypt.decrypt_column(name) from people', '22021',
	'other text is an error, not garbage', dbname => 'utf8');
like($said, qr/HINT:  .*Use encrypt.decrypt_bytes/, 'with a hint');
is(query('utf8', q{select convert_from(encrypt.decrypt_bytes(name), 'LATIN1') from people}), $text, 'and nothing is lost');

# Names of keys would differ with the encoding: outside of UTF-8 they are ASCII.
fails_with($node, "set client_encoding = 'UTF8'; select encrypt.create_key('$text')", '22023',
	'latin1: names of keys are ASCII', dbname => 'latin1');
query('utf8', "select encrypt.create_key('$text')");
is(query('utf8', "select encrypt.decrypt_column(encrypt.encrypt_column('x', '$text'))"), 'x', 'utf8: names of keys are not');
$node->stop;
done_testing();
